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
#include "io/file/lock.h"

#define LOCK_USED     100
#define LOCK_UNSHARED 200
#define LOCK_N_PERMS  4

struct lock_set {
	bool used[LOCK_N_PERMS];
	bool unshared[LOCK_N_PERMS];
};

static const char *const perm_words[LOCK_N_PERMS] = {
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

static int call_fcntl(int fd, int cmd, struct flock *lock)
{
	int rc;
	lock->l_whence = SEEK_SET;
	lock->l_pid = 0; /* the kernel insists */
	do
		rc = fcntl(fd, cmd, lock);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

/* 0, -EBUSY where another holds the byte exclusively, or -errno. */
static int take_byte(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_RDLCK, .l_start = byte, .l_len = 1 };
	int rc = call_fcntl(fd, F_OFD_SETLK, &lock);
	return rc == -EAGAIN || rc == -EACCES ? -EBUSY : rc;
}

/* -EBUSY: another open file description has a lock of any kind on the byte. */
static int ask_byte(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };
	int rc = call_fcntl(fd, F_OFD_GETLK, &lock);
	if (rc)
		return rc;
	return lock.l_type == F_UNLCK ? 0 : -EBUSY;
}

static void release_bytes(int fd)
{
	struct flock lock = { .l_type = F_UNLCK,
			      .l_start = LOCK_USED,
			      .l_len = LOCK_UNSHARED + LOCK_N_PERMS - LOCK_USED };
	call_fcntl(fd, F_OFD_SETLK, &lock);
}

/* *at: the byte that stood in the way. */
static int take_all_bytes(int fd, const struct lock_set *set, off_t *at)
{
	int rc = 0;
	for (int i = 0; !rc && i < LOCK_N_PERMS; i++) {
		if (set->used[i])
			rc = take_byte(fd, *at = LOCK_USED + i);
		if (!rc && set->unshared[i])
			rc = take_byte(fd, *at = LOCK_UNSHARED + i);
	}
	return rc;
}

static int ask_all_bytes(int fd, const struct lock_set *set, off_t *at)
{
	int rc = 0;
	for (int i = 0; !rc && i < LOCK_N_PERMS; i++) {
		if (set->used[i])
			rc = ask_byte(fd, *at = LOCK_UNSHARED + i);
		if (!rc && set->unshared[i])
			rc = ask_byte(fd, *at = LOCK_USED + i);
	}
	return rc;
}

static int refuse_lock(const struct file *file, enum file_lock kind, off_t at, struct err *err)
{
	struct shown shown;
	bool theirs = at < LOCK_UNSHARED; /* they use it; else they keep us from using it */
	const char *words = perm_words[(at - LOCK_USED) % (LOCK_UNSHARED - LOCK_USED)];

	err_set(err, -EBUSY,
		"'%s' is in use: another process %s %s (lock byte %d). Stop the virtual "
		"machine or tool that has it open, then try again",
		file_show(file, &shown), theirs ? "may" : "does not let others", words, (int)at);
	return err_remedy(err, -EBUSY,
			  kind == FILE_LOCK_SHARED ? ERR_REMEDY_FORCE_SHARE : ERR_REMEDY_NONE,
			  NULL);
}

/* What a file system or an old kernel answers when it has no such locks. */
static bool has_no_locks(int code)
{
	return code == -EINVAL || code == -ENOLCK || code == -ENOSYS || code == -EOPNOTSUPP ||
	       code == -ENOTTY;
}

static int fd_of_locks(const struct file *file)
{
	return file->lock_fd >= 0 ? file->lock_fd : file->fd;
}

void file_lock_drop(struct file *file)
{
	release_bytes(fd_of_locks(file));
}

static void release_byte(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_UNLCK, .l_start = byte, .l_len = 1 };

	call_fcntl(fd, F_OFD_SETLK, &lock);
}

/* Gives back the bytes that are in `all` and not in `kept`. */
static void release_others(int fd, const struct lock_set *all, const struct lock_set *kept)
{
	for (int i = 0; i < LOCK_N_PERMS; i++) {
		if (all->used[i] && !kept->used[i])
			release_byte(fd, LOCK_USED + i);
		if (all->unshared[i] && !kept->unshared[i])
			release_byte(fd, LOCK_UNSHARED + i);
	}
}

/* All bytes of `set` are in `of`, too. */
static bool is_subset(const struct lock_set *set, const struct lock_set *of)
{
	for (int i = 0; i < LOCK_N_PERMS; i++)
		if ((set->used[i] && !of->used[i]) || (set->unshared[i] && !of->unshared[i]))
			return false;
	return true;
}

int file_lock_change(struct file *file, enum file_lock from, enum file_lock to, struct err *err)
{
	struct lock_set had = lock_set_of(from), set = lock_set_of(to);
	int fd = fd_of_locks(file), rc;
	struct shown shown;
	off_t at = 0;

	/* Nothing is taken, so nothing is asked: a program that only tries, and gives way, has
	 * bytes for a moment, and would fail this call. */
	if (is_subset(&set, &had)) {
		release_others(fd, &had, &set);
		return 0;
	}
	rc = take_all_bytes(fd, &set, &at);
	if (!rc)
		rc = ask_all_bytes(fd, &set, &at);
	if (!rc || has_no_locks(rc)) {
		release_others(fd, &had, &set);
		return 0;
	}
	release_others(fd, &set, &had);
	if (rc == -EBUSY)
		return refuse_lock(file, to, at, err);
	return err_errno(err, rc, "cannot lock '%s'", file_show(file, &shown));
}

int file_lock_take(struct file *file, enum file_lock kind, bool *unsupported, struct err *err)
{
	struct lock_set set = lock_set_of(kind);
	int fd = fd_of_locks(file), rc;
	struct shown shown;
	off_t at = 0;

	*unsupported = false;
	if (kind == FILE_LOCK_NONE)
		return 0;
	rc = take_all_bytes(fd, &set, &at);
	if (!rc)
		rc = ask_all_bytes(fd, &set, &at);
	if (!rc)
		return 0;
	release_bytes(fd);
	if (rc == -EBUSY)
		return refuse_lock(file, kind, at, err);
	if (has_no_locks(rc)) {
		*unsupported = true;
		return 0;
	}
	return err_errno(err, rc, "cannot lock '%s'", file_show(file, &shown));
}
