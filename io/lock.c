/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QEMU's image locks, byte for byte, so that a running QEMU and we refuse each
 * other. Byte 100 + i says "I use permission i", byte 200 + i "I do not let
 * others use permission i". All are read locks of the open file description:
 * first ours are taken, then F_OFD_GETLK asks whether another program's would stand
 * against them. Two that come at once may both see the other and both give
 * way; none is ever let in by mistake.
 *
 * POSIX locks were rejected: closing any other descriptor of the file drops
 * them without a word.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "io/base.h"
#include "io/file.h"

#define LOCK_USED     100
#define LOCK_UNSHARED 200
#define LOCK_N_PERMS  4

struct lock_set {
	bool used[LOCK_N_PERMS];
	bool unshared[LOCK_N_PERMS];
};

static const char *const lock_words[LOCK_N_PERMS] = {
	"read from it",
	"write to it",
	"rewrite parts of it unchanged",
	"resize it",
};

static struct lock_set lock_set_of(enum file_lock kind)
{
	switch (kind) {
	case FILE_LOCK_NONE: return (struct lock_set){ 0 };
	case FILE_LOCK_SHARED:
		return (struct lock_set){ .used = { true, false, false, false },
					  .unshared = { false, true, false, true } };
	case FILE_LOCK_OVERLAY:
		return (struct lock_set){ .used = { true, true, true, true },
					  .unshared = { false, true, false, true } };
	}
	abort();
}

static int lock_fcntl(int fd, int cmd, struct flock *lock)
{
	int ret;
	lock->l_whence = SEEK_SET;
	lock->l_pid = 0; /* the kernel insists */
	do
		ret = fcntl(fd, cmd, lock);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/* 0, -EBUSY where another holds the byte exclusively, or -errno. */
static int lock_byte_take(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_RDLCK, .l_start = byte, .l_len = 1 };
	int ret = lock_fcntl(fd, F_OFD_SETLK, &lock);
	return ret == -EAGAIN || ret == -EACCES ? -EBUSY : ret;
}

/* -EBUSY: another open file description has a lock of any kind on the byte. */
static int lock_byte_ask(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };
	int ret = lock_fcntl(fd, F_OFD_GETLK, &lock);
	if (ret)
		return ret;
	return lock.l_type == F_UNLCK ? 0 : -EBUSY;
}

static void lock_release(int fd)
{
	struct flock lock = { .l_type = F_UNLCK,
			      .l_start = LOCK_USED,
			      .l_len = LOCK_UNSHARED + LOCK_N_PERMS - LOCK_USED };
	lock_fcntl(fd, F_OFD_SETLK, &lock);
}

/* *at: the byte that stood in the way. */
static int lock_take_all(int fd, const struct lock_set *set, off_t *at)
{
	int ret = 0;
	for (int i = 0; !ret && i < LOCK_N_PERMS; i++) {
		if (set->used[i])
			ret = lock_byte_take(fd, *at = LOCK_USED + i);
		if (!ret && set->unshared[i])
			ret = lock_byte_take(fd, *at = LOCK_UNSHARED + i);
	}
	return ret;
}

static int lock_ask_all(int fd, const struct lock_set *set, off_t *at)
{
	int ret = 0;
	for (int i = 0; !ret && i < LOCK_N_PERMS; i++) {
		if (set->used[i])
			ret = lock_byte_ask(fd, *at = LOCK_UNSHARED + i);
		if (!ret && set->unshared[i])
			ret = lock_byte_ask(fd, *at = LOCK_USED + i);
	}
	return ret;
}

static int lock_refused(const struct file *file, enum file_lock kind, off_t at, struct err *err)
{
	char name[512];
	bool theirs = at < LOCK_UNSHARED; /* they use it; else they keep us from using it */
	const char *words = lock_words[(at - LOCK_USED) % (LOCK_UNSHARED - LOCK_USED)];

	err_escape(file->name, strlen(file->name), name, sizeof(name));
	err_set(err, -EBUSY,
		"'%s' is in use: another process %s %s (lock byte %d). Stop the virtual "
		"machine or tool that has it open, then try again",
		name, theirs ? "may" : "does not let others", words, (int)at);
	return err_remedy(err, -EBUSY,
			  kind == FILE_LOCK_SHARED ? ERR_REMEDY_FORCE_SHARE : ERR_REMEDY_NONE,
			  NULL);
}

/* What a file system or an old kernel answers when it has no such locks. */
static bool lock_missing(int code)
{
	return code == -EINVAL || code == -ENOLCK || code == -ENOSYS || code == -EOPNOTSUPP ||
	       code == -ENOTTY;
}

static int lock_fd(const struct file *file)
{
	return file->lock_fd > 0 ? file->lock_fd : file->fd;
}

void file_lock_drop(struct file *file)
{
	lock_release(lock_fd(file));
}

int file_lock_take(struct file *file, enum file_lock kind, bool *unsupported, struct err *err)
{
	struct lock_set set = lock_set_of(kind);
	off_t at = 0;

	*unsupported = false;
	if (kind == FILE_LOCK_NONE)
		return 0;
	int fd = lock_fd(file);
	int ret = lock_take_all(fd, &set, &at);
	if (!ret)
		ret = lock_ask_all(fd, &set, &at);
	if (!ret)
		return 0;
	lock_release(fd);
	if (ret == -EBUSY)
		return lock_refused(file, kind, at, err);
	if (lock_missing(ret)) {
		*unsupported = true;
		return 0;
	}
	char name[512];
	return err_errno(err, ret, "cannot lock '%s'",
			 err_escape(file->name, strlen(file->name), name, sizeof(name)));
}
