/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From a name to a descriptor, with nothing to race: the name is looked up
 * once, with O_PATH, which opens nothing (no fifo blocks, no tape rewinds).
 * What that descriptor holds is checked (its type, and its real name against
 * the policy), and the same descriptor is then opened for real through
 * /proc/self/fd. A symlink that is swapped meanwhile changes nothing.
 *
 * realpath() and open() after it was rejected for that reason; it is only the
 * way out where /proc is missing, and there the inode must be the same twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "io/posix_file.h"

#define LOCK_PAUSE_MS    10
#define POSIX_OPEN_SHOWN 400 /* bytes of a name in a sentence; two fit a message */

struct posix_open {
	const struct file_open *how;
	struct stat st; /* of what the name led to */
	char *real_name;
	int path_fd; /* O_PATH, or -1 */
	int fd;      /* the opened file, or -1 */
	char shown[POSIX_OPEN_SHOWN];
};

static void posix_open_drop(struct posix_open *po)
{
	if (po->path_fd >= 0)
		close(po->path_fd);
	if (po->fd >= 0)
		close(po->fd);
	free(po->real_name);
}

static bool posix_open_same(const struct posix_open *po, const struct stat *st)
{
	return st->st_dev == po->st.st_dev && st->st_ino == po->st.st_ino &&
	       (st->st_mode & S_IFMT) == (po->st.st_mode & S_IFMT);
}

static int posix_open_missing(const struct posix_open *po, struct err *err)
{
	struct stat st;
	if (!lstat(po->how->name, &st) && S_ISLNK(st.st_mode))
		return err_set(err, -ENOENT,
			       "'%s' is a symbolic link that leads nowhere: restore what it points "
			       "to, or name another file",
			       po->shown);
	return err_set(err, -ENOENT,
		       "'%s' does not exist: check the name, and that its file system is mounted",
		       po->shown);
}

static unsigned long long posix_open_limit(void)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

/* One sentence for each way the system refuses; code is what the caller sees. */
static int posix_open_failed(const struct posix_open *po, int code, struct err *err)
{
	const char *what = po->how->write ? "reading and writing" : "reading";

	switch (-code) {
	case ENOENT: return posix_open_missing(po, err);
	case EMFILE:
		return err_set(
			err, code,
			"cannot open '%s': this process has as many files open as it may (its "
			"limit is %llu); raise the limit (ulimit -n), or work on fewer images "
			"at once",
			po->shown, posix_open_limit());
	case ENFILE:
		return err_set(
			err, code,
			"cannot open '%s': the system has as many files open as it may; raise "
			"its limit (sysctl fs.file-max), or close some",
			po->shown);
	case EACCES:
		return err_set(err, code,
			       "no permission to open '%s' for %s: change its mode or owner, or "
			       "run as a user who may",
			       po->shown, what);
	case EPERM:
		/* EPERM means "refused by policy" to our callers; this is the file system's. */
		return err_set(err, -EACCES,
			       "the system does not allow opening '%s' for %s: it may be marked "
			       "immutable (see lsattr)",
			       po->shown, what);
	case EROFS:
		return medium_refuse(po->how->name, po->real_name, S_ISBLK(po->st.st_mode), err);
	default: return err_errno(err, code, "cannot open '%s' for %s", po->shown, what);
	}
}

/* Over FUSE or a network a signal may end it. -1 and errno, as open() has it. */
static int posix_open_call(const char *name, int flags, mode_t mode)
{
	unsigned n_tries = 0;
	int fd;
	do
		fd = open(name, flags | O_CLOEXEC, mode);
	while (fd < 0 && posix_again(&n_tries));
	return fd;
}

/* Looks the name up and judges what it led to. */
static int posix_open_look(struct posix_open *po, struct err *err)
{
	po->path_fd = posix_open_call(po->how->name, O_PATH, 0);
	if (po->path_fd < 0 || fstat(po->path_fd, &po->st))
		return posix_open_failed(po, -errno, err);
	if (S_ISBLK(po->st.st_mode) || S_ISREG(po->st.st_mode))
		return 0;
	if (S_ISDIR(po->st.st_mode))
		return err_set(err, -EISDIR, "'%s' is a directory: name the image file in it",
			       po->shown);
	return err_set(err, -EINVAL,
		       "'%s' is neither a regular file nor a block device: only those can hold an "
		       "image",
		       po->shown);
}

/* By the name itself, where /proc cannot tell; the inode must be the one looked up. */
static int posix_open_resolve(struct posix_open *po)
{
	struct stat st;
	po->real_name = realpath(po->how->name, NULL);
	if (!po->real_name)
		return -errno;
	if (stat(po->real_name, &st))
		return -errno;
	return posix_open_same(po, &st) ? 0 : -ESTALE;
}

/* The kernel marks a file without a name by a suffix, which a living file may also bear. */
static bool posix_open_deleted(const struct posix_open *po)
{
	static const char suffix[] = " (deleted)";
	size_t len = strlen(po->real_name), n = sizeof(suffix) - 1;
	struct stat st;

	if (len < n || strcmp(po->real_name + len - n, suffix))
		return false;
	return stat(po->real_name, &st) || !posix_open_same(po, &st);
}

static int posix_open_real_name(struct posix_open *po, struct err *err)
{
	char link[64], path[PATH_MAX];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", po->path_fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);

	int ret = 0;
	if (n >= (ssize_t)sizeof(path) - 1) {
		ret = -ENAMETOOLONG;
	} else if (n > 0) {
		po->real_name = strndup(path, (size_t)n);
		if (!po->real_name)
			ret = -ENOMEM;
		else if (path[0] != '/' || posix_open_deleted(po))
			ret = -ESTALE;
	} else {
		ret = posix_open_resolve(po);
	}
	if (ret == -ESTALE)
		return err_set(err, -ENOENT,
			       "'%s' was removed or replaced while it was being opened, or has no "
			       "name of its own: put it at a path that stays, then try again",
			       po->shown);
	if (ret)
		return err_errno(err, ret, "cannot find the real name of '%s'", po->shown);
	return 0;
}

/* What would allow the file, safe to say: for a plain file its directory, unless that is all there
 * is; for a device itself, by the link that names it where that can be trusted to stay. */
static void posix_open_remedy(const struct posix_open *po, const char *link_name, char *out,
			      size_t size)
{
	const char *name = *link_name ? link_name : po->real_name;
	size_t len = strlen(name);

	if (!S_ISBLK(po->st.st_mode)) {
		size_t dir_len = (size_t)(strrchr(name, '/') - name);
		len = dir_len ? dir_len : len;
	}
	err_escape(name, len, out, size);
}

static int posix_open_forbidden(const struct posix_open *po, const char *link_name, struct err *err)
{
	char real[POSIX_OPEN_SHOWN / 2], remedy[POSIX_OPEN_SHOWN / 2],
		missing[POSIX_OPEN_SHOWN / 2];
	const char *not_there = po->how->policy->missing;
	bool moved = strcmp(po->how->name, po->real_name) != 0;

	err_escape(po->real_name, strlen(po->real_name), real, sizeof(real));
	posix_open_remedy(po, link_name, remedy, sizeof(remedy));
	err_escape(not_there ? not_there : "", not_there ? strlen(not_there) : 0, missing,
		   sizeof(missing));
	err_set(err, -EPERM, "'%s'%s%s%s %s; '%s' is not allowed for backing files%s%s%s",
		po->shown, moved ? " (really '" : "", moved ? real : "", moved ? "')" : "",
		S_ISBLK(po->st.st_mode)
			? "is a block device, which may be opened as a part of an image only "
			  "where it was named"
			: "may not be opened as a part of this image",
		remedy, not_there ? ", and '" : "", missing,
		not_there ? "', which was allowed, does not exist" : "");
	return err_remedy(err, -EPERM, ERR_REMEDY_ALLOW_BACKING, remedy);
}

static int posix_open_allowed(struct posix_open *po, struct err *err)
{
	const struct path_policy *policy = po->how->policy;
	bool is_block = S_ISBLK(po->st.st_mode);
	char link_name[PATH_MAX] = "";

	if (!policy || path_policy_allows(policy, po->real_name, is_block))
		return 0;
	if (is_block && posix_link_allowed(policy, po->how->name, &po->st, link_name))
		return 0;
	return posix_open_forbidden(po, link_name, err);
}

/* What the kernel makes up as it is read calls itself a regular file of no bytes: as a base it
 * would read as zeros, and /proc/self holds this very process. */
static int posix_open_real_file(const struct posix_open *po, struct err *err)
{
	static const uint32_t made_up[] = { PROC_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC };
	struct statfs fs;

	if (!S_ISREG(po->st.st_mode) || fstatfs(po->path_fd, &fs))
		return 0;
	for (size_t i = 0; i < sizeof(made_up) / sizeof(made_up[0]); i++)
		if ((uint32_t)fs.f_type == made_up[i])
			return err_set(err, -EINVAL,
				       "'%s' is not a file on a disk, but a view into the kernel "
				       "(/proc, /sys): it can hold no image",
				       po->shown);
	return 0;
}

/* The descriptor looked up before becomes one that can be read. */
static int posix_open_again(struct posix_open *po, int flags)
{
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", po->path_fd);
	po->fd = posix_open_call(link, flags, 0);
	if (po->fd < 0 && errno == ENOENT) {
		/* No /proc. O_NONBLOCK guards against a fifo put there meanwhile. */
		po->fd = posix_open_call(po->real_name, flags | O_NOFOLLOW | O_NONBLOCK, 0);
		if (po->fd >= 0)
			fcntl(po->fd, F_SETFL, fcntl(po->fd, F_GETFL) & ~O_NONBLOCK);
	}
	struct stat st;
	if (po->fd < 0 || fstat(po->fd, &st))
		return -errno;
	return posix_open_same(po, &st) ? 0 : -ENOENT;
}

/* Drivers differ in what they answer where a read-only device is opened for writing: EROFS, EACCES,
 * EPERM, or a descriptor of which every write fails. So the device itself is asked. */
static int posix_open_writable(struct posix_open *po, int ret)
{
	bool refused = ret == -EACCES || ret == -EPERM;

	if (!S_ISBLK(po->st.st_mode) || (ret && !refused))
		return ret;
	if (refused && posix_open_again(po, O_RDONLY | O_NOCTTY | O_NONBLOCK))
		return ret;
	return medium_is_read_only(po->fd, true) ? -EROFS : ret;
}

static int posix_open_reopen(struct posix_open *po, struct err *err)
{
	int flags = (po->how->write ? O_RDWR : O_RDONLY) | O_NOCTTY;
	int ret = posix_open_again(po, flags | (po->how->direct ? O_DIRECT : 0));
	if (ret == -EINVAL && po->how->direct)
		ret = posix_open_again(po, flags);
	if (po->how->write)
		ret = posix_open_writable(po, ret);
	return ret ? posix_open_failed(po, ret, err) : 0;
}

/* The grid of direct requests, or 1 where O_DIRECT is off or turns out to be refused. */
static uint32_t posix_open_align(const struct posix_open *po)
{
	int flags = fcntl(po->fd, F_GETFL);
	if (flags < 0 || !(flags & O_DIRECT))
		return 1;
	uint32_t align = 4096;
	int sector = 0;
	if (S_ISBLK(po->st.st_mode) && !ioctl(po->fd, BLKSSZGET, &sector) && sector > 0)
		align = (uint32_t)sector;
#ifdef STATX_DIOALIGN
	struct statx sx;
	if (!statx(po->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) &&
	    (sx.stx_mask & STATX_DIOALIGN))
		align = MAX(sx.stx_dio_mem_align, sx.stx_dio_offset_align);
#endif
	if (is_power_of_2(align) && align <= 64 * KiB)
		return align;
	fcntl(po->fd, F_SETFL, flags & ~O_DIRECT);
	return 1;
}

/* Size and time as they are now, that is under the lock. */
static int posix_open_measure(const struct posix_open *po, struct file *file)
{
	struct stat st;
	if (fstat(file->fd, &st))
		return -errno;
	file->len = (uint64_t)st.st_size;
	file->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	if (!file->is_block)
		return 0;
	return ioctl(file->fd, BLKGETSIZE64, &file->len) ? -errno : 0;
}

static struct file *posix_open_file(struct posix_open *po)
{
	struct posix_file *pf = calloc(1, sizeof(*pf));
	char *name = strdup(po->how->name);
	if (!pf || !name) {
		free(pf);
		free(name);
		return NULL;
	}
	bool is_block = S_ISBLK(po->st.st_mode);
	pf->file = (struct file){
		.ops = &posix_file_ops,
		.name = name,
		.writable = po->how->write,
		.is_block = is_block,
		.read_only = medium_is_read_only(po->fd, is_block),
		.may_not_write = po->how->write ? 0 : medium_user_denied(po->fd),
		.may_clone = !is_block && posix_may_clone(po->fd),
		.io_align = posix_open_align(po),
		.dev = po->st.st_dev,
		.ino = po->st.st_ino,
		.slot = -1,
	};
	pf->owner = getpid();
	pthread_mutex_init(&pf->patch_lock, NULL);
	pf->file.fd = po->fd;
	posix_holes_judge(pf, po->how->holes);
	pf->file.real_name = STEAL(po->real_name);
	po->fd = -1;
	return &pf->file;
}

/* Asks again for a while, as long as the caller is willing to wait. */
static int posix_open_lock(const struct posix_open *po, struct file *file, bool *unsupported,
			   struct err *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };
	char link[64];

	/* The ring may hold the data's description for a while after the process was killed, and
	 * with it the locks: they get one that it never sees. No buffered write outlives the
	 * process; a direct one may, and then the locks must outlive it as well. Threads die with
	 * the process, and with them all that it has open. */
	if (po->how->lock != FILE_LOCK_NONE && po->how->outlives && file->io_align == 1) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", file->fd);
		file->lock_fd = posix_open_call(link, O_RDONLY | O_NOCTTY, 0);
	}

	for (unsigned waited_ms = 0;; waited_ms += LOCK_PAUSE_MS) {
		int ret = file_lock_take(file, po->how->lock, unsupported, err);
		if (ret != -EBUSY || waited_ms >= po->how->lock_wait_ms)
			return ret;
		nanosleep(&pause, NULL);
	}
}

/* From an opened descriptor to a locked, measured file. */
static int posix_open_finish(struct posix_open *po, struct file **out, struct err *err)
{
	struct file *file = posix_open_file(po);
	if (!file)
		return err_errno(err, -ENOMEM, "cannot open '%s'", po->shown);
	bool unsupported;
	int ret = posix_open_lock(po, file, &unsupported, err);
	if (!ret && po->how->lock_unsupported)
		*po->how->lock_unsupported = unsupported;
	if (!ret) {
		if (!file->writable && !file->is_block)
			file_watch_begin(&((struct posix_file *)file)->watched, po->how->watch,
					 file->fd);
		ret = posix_open_measure(po, file);
		if (ret)
			err_errno(err, ret, "cannot find the size of '%s'", po->shown);
	}
	if (ret) {
		file_close(file);
		return ret;
	}
	*out = file;
	return 0;
}

static int posix_open_open(struct file_opener *opener, const struct file_open *how,
			   struct file **out, struct err *err)
{
	struct posix_open po = { .how = how, .path_fd = -1, .fd = -1 };
	err_escape(how->name, strlen(how->name), po.shown, sizeof(po.shown));

	int ret = posix_open_look(&po, err);
	if (!ret)
		ret = posix_open_real_name(&po, err);
	if (!ret)
		ret = posix_open_allowed(&po, err);
	if (!ret)
		ret = posix_open_real_file(&po, err);
	if (!ret)
		ret = posix_open_reopen(&po, err);
	if (!ret)
		ret = posix_open_finish(&po, out, err);
	posix_open_drop(&po);
	return ret;
}

int posix_create(const char *name, mode_t mode, struct file **out, struct err *err)
{
	struct file_open how = { .name = name, .write = true };
	struct posix_open po = { .how = &how, .path_fd = -1 };
	err_escape(name, strlen(name), po.shown, sizeof(po.shown));

	if (!*name)
		return err_set(err, -EINVAL, "the new file's name is empty: give it one");
	po.fd = posix_open_call(name, O_RDWR | O_CREAT | O_EXCL | O_NOCTTY, mode);
	if (po.fd < 0 && errno == EEXIST)
		return err_set(err, -EEXIST,
			       "'%s' exists already and is left alone: remove it, or choose "
			       "another name",
			       po.shown);
	if (po.fd < 0 && errno == ENOENT)
		return err_set(err, -ENOENT,
			       "cannot create '%s': the directory it would lie in does not exist",
			       po.shown);
	if (po.fd < 0 && errno == EPERM) /* the file system's, as in posix_open_failed() */
		return err_set(err, -EACCES,
			       "the system does not allow creating '%s': its directory may be "
			       "marked immutable (see lsattr)",
			       po.shown);
	if (po.fd < 0)
		return err_errno(err, -errno, "cannot create '%s'", po.shown);

	int ret = fstat(po.fd, &po.st) ? -errno : 0;
	po.real_name = ret ? NULL : realpath(name, NULL);
	if (!ret && !po.real_name)
		ret = -errno;
	if (ret)
		err_errno(err, ret, "cannot create '%s'", po.shown);
	else
		ret = posix_open_finish(&po, out, err);
	if (ret)
		unlink(name);
	posix_open_drop(&po);
	return ret;
}

static int posix_open_create(struct file_opener *opener, const char *name, struct file **out,
			     struct err *err)
{
	return posix_create(name, 0666, out, err);
}

static int posix_open_remove(struct file_opener *opener, const char *name)
{
	return unlink(name) ? -errno : 0;
}

struct file_opener *file_opener_posix(void)
{
	static struct file_opener opener = {
		.open = posix_open_open,
		.create = posix_open_create,
		.remove = posix_open_remove,
	};
	return &opener;
}
