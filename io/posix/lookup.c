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
#include "io/posix/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file/file_system.h"
#include "io/file/medium.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"
#include "io/posix/file.h"
#include "io/posix/link.h"
#include "io/posix/use.h"

void posix_lookup_begin(struct posix_lookup *lk, const struct file_open *how)
{
	*lk = (struct posix_lookup){ .how = how, .path_fd = -1, .fd = -1 };
	err_escape(how->name, strlen(how->name), lk->shown, sizeof(lk->shown));
}

void posix_lookup_drop(struct posix_lookup *lk)
{
	if (lk->path_fd >= 0)
		close(lk->path_fd);
	if (lk->fd >= 0)
		close(lk->fd);
	posix_use_end(lk->use);
	free(lk->real_name);
}

bool posix_lookup_is_same(const struct posix_lookup *lk, const struct stat *st)
{
	return st->st_dev == lk->st.st_dev && st->st_ino == lk->st.st_ino &&
	       (st->st_mode & S_IFMT) == (lk->st.st_mode & S_IFMT);
}

static int say_missing(const struct posix_lookup *lk, struct err *err)
{
	struct stat st;
	if (!lstat(lk->how->name, &st) && S_ISLNK(st.st_mode))
		return err_set(err, -ENOENT,
			       "'%s' is a symbolic link that leads nowhere: restore what it points "
			       "to, or name another file",
			       lk->shown);
	if (!lk->how->recorded && strstr(lk->how->name, "://"))
		return err_set(err, -ENOENT,
			       "'%s' is no file of this machine: of servers only those of NBD are "
			       "read, and an image that is written to or checked must be a file",
			       lk->shown);
	return err_set(err, -ENOENT,
		       "'%s' does not exist: check the name, and that its file system is mounted",
		       lk->shown);
}

static unsigned long long files_limit(void)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

/* One sentence for each way the system refuses; code is what the caller sees. */
static int say_failed(const struct posix_lookup *lk, int code, struct err *err)
{
	const char *what = lk->how->write ? "reading and writing" : "reading";

	switch (-code) {
	case ENOENT: return say_missing(lk, err);
	case EMFILE:
		return err_set(
			err, code,
			"cannot open '%s': this process has as many files open as it may (its "
			"limit is %llu); raise the limit (ulimit -n), or work on fewer images "
			"at once",
			lk->shown, files_limit());
	case ENFILE:
		return err_set(
			err, code,
			"cannot open '%s': the system has as many files open as it may; raise "
			"its limit (sysctl fs.file-max), or close some",
			lk->shown);
	case EACCES:
		return err_set(err, code,
			       "no permission to open '%s' for %s: change its mode or owner, or "
			       "run as a user who may",
			       lk->shown, what);
	case EPERM:
		/* EPERM means "refused by policy" to our callers; this is the file system's. */
		return err_set(err, -EACCES,
			       "the system does not allow opening '%s' for %s: it may be marked "
			       "immutable (see lsattr)",
			       lk->shown, what);
	case EROFS:
		return medium_refuse(lk->how->name, lk->real_name, S_ISBLK(lk->st.st_mode), err);
	default: return err_errno(err, code, "cannot open '%s' for %s", lk->shown, what);
	}
}

int posix_open_fd(const char *name, int flags, mode_t mode)
{
	unsigned n_tries = 0;
	int fd;
	do
		fd = open(name, flags | O_CLOEXEC, mode);
	while (fd < 0 && posix_again(&n_tries));
	return fd;
}

int posix_reopen(int fd, int flags)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return posix_open_fd(link, flags, 0);
}

int posix_lookup_judge(const struct posix_lookup *lk, struct err *err)
{
	if (S_ISBLK(lk->st.st_mode) || S_ISREG(lk->st.st_mode))
		return 0;
	if (S_ISDIR(lk->st.st_mode))
		return err_set(err, -EISDIR, "'%s' is a directory: name the image file in it",
			       lk->shown);
	return err_set(err, -EINVAL,
		       "'%s' is neither a regular file nor a block device: only those can hold an "
		       "image",
		       lk->shown);
}

/* Looks the name up and judges what it led to. */
static int look_up(struct posix_lookup *lk, struct err *err)
{
	lk->path_fd = posix_open_fd(lk->how->name, O_PATH, 0);
	if (lk->path_fd < 0 || fstat(lk->path_fd, &lk->st))
		return say_failed(lk, -errno, err);
	return posix_lookup_judge(lk, err);
}

/* By the name itself, where /proc cannot tell; the inode must be the one looked up. */
static int resolve_name(struct posix_lookup *lk)
{
	struct stat st;
	lk->real_name = realpath(lk->how->name, NULL);
	if (!lk->real_name)
		return -errno;
	if (stat(lk->real_name, &st))
		return -errno;
	return posix_lookup_is_same(lk, &st) ? 0 : -ESTALE;
}

/* The kernel adds " (deleted)" to the path of a file without a name; a file may also be called
 * so. */
static bool is_deleted(const struct posix_lookup *lk)
{
	static const char suffix[] = " (deleted)";
	size_t len = strlen(lk->real_name), n = sizeof(suffix) - 1;
	struct stat st;

	if (len < n || strcmp(lk->real_name + len - n, suffix))
		return false;
	return stat(lk->real_name, &st) || !posix_lookup_is_same(lk, &st);
}

static int find_real_name(struct posix_lookup *lk, struct err *err)
{
	char link[64], path[PATH_MAX];
	ssize_t n;
	int rc = 0;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", lk->path_fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n >= (ssize_t)sizeof(path) - 1) {
		rc = -ENAMETOOLONG;
	} else if (n > 0) {
		lk->real_name = strndup(path, (size_t)n);
		if (!lk->real_name)
			rc = -ENOMEM;
		else if (path[0] != '/' || is_deleted(lk))
			rc = -ESTALE;
	} else {
		rc = resolve_name(lk);
	}
	if (rc == -ESTALE)
		return err_set(err, -ENOENT,
			       "'%s' was removed or replaced while it was being opened, or has no "
			       "name of its own: put it at a path that stays, then try again",
			       lk->shown);
	if (rc)
		return err_errno(err, rc, "cannot find the real name of '%s'", lk->shown);
	return 0;
}

/* The name that would allow the file, as it may be printed: of a plain file its directory, unless
 * that is the root; of a device the link that leads to it, where that can be trusted to stay, else
 * its own name. */
static void show_remedy(const struct posix_lookup *lk, const char *link_name, char *out,
			size_t size)
{
	const char *name = *link_name ? link_name : lk->real_name;
	size_t len = strlen(name);

	if (!S_ISBLK(lk->st.st_mode)) {
		size_t dir_len = (size_t)(strrchr(name, '/') - name);
		len = dir_len ? dir_len : len;
	}
	err_escape(name, len, out, size);
}

static int refuse_name(const struct posix_lookup *lk, const char *link_name, struct err *err)
{
	char real[POSIX_LOOKUP_SHOWN / 2], remedy[POSIX_LOOKUP_SHOWN / 2],
		missing[POSIX_LOOKUP_SHOWN / 2];
	const char *not_there = lk->how->policy->missing;
	bool moved = strcmp(lk->how->name, lk->real_name) != 0;

	err_escape(lk->real_name, strlen(lk->real_name), real, sizeof(real));
	show_remedy(lk, link_name, remedy, sizeof(remedy));
	err_escape(not_there ? not_there : "", not_there ? strlen(not_there) : 0, missing,
		   sizeof(missing));
	err_set(err, -EPERM, "'%s'%s%s%s %s; '%s' is not allowed for backing files%s%s%s",
		lk->shown, moved ? " (really '" : "", moved ? real : "", moved ? "')" : "",
		S_ISBLK(lk->st.st_mode)
			? "is a block device, which may be opened as a part of an image only "
			  "where it was named"
			: "may not be opened as a part of this image",
		remedy, not_there ? ", and '" : "", missing,
		not_there ? "', which was allowed, does not exist" : "");
	return err_remedy(err, -EPERM, ERR_REMEDY_ALLOW_BACKING, remedy);
}

static int check_allowed(struct posix_lookup *lk, struct err *err)
{
	const struct path_policy *policy = lk->how->policy;
	bool is_block = S_ISBLK(lk->st.st_mode);
	char link_name[PATH_MAX] = "";

	if (!policy || path_policy_allows(policy, lk->real_name, is_block))
		return 0;
	if (is_block && posix_link_allowed(policy, lk->how->name, &lk->st, link_name))
		return 0;
	return refuse_name(lk, link_name, err);
}

/* What the kernel makes up as it is read calls itself a regular file of no bytes: as a base it
 * would read as zeros, and /proc/self holds this very process. */
int posix_lookup_refuse_made_up(const struct posix_lookup *lk, struct err *err)
{
	int fd = lk->path_fd >= 0 ? lk->path_fd : lk->fd;

	if (!S_ISREG(lk->st.st_mode) || !file_system_of(fd)->is_made_up)
		return 0;
	return err_set(err, -EINVAL,
		       "'%s' is not a file on a disk, but a view into the kernel (/proc, /sys): it "
		       "can hold no image",
		       lk->shown);
}

/* The descriptor looked up before becomes one that can be read. */
static int open_same(struct posix_lookup *lk, int flags)
{
	struct stat st;

	lk->fd = posix_reopen(lk->path_fd, flags);
	if (lk->fd < 0 && errno == ENOENT) {
		/* No /proc. O_NONBLOCK guards against a fifo put there meanwhile. */
		lk->fd = posix_open_fd(lk->real_name, flags | O_NOFOLLOW | O_NONBLOCK, 0);
		if (lk->fd >= 0)
			fcntl(lk->fd, F_SETFL, fcntl(lk->fd, F_GETFL) & ~O_NONBLOCK);
	}
	if (lk->fd < 0 || fstat(lk->fd, &st))
		return -errno;
	return posix_lookup_is_same(lk, &st) ? 0 : -ENOENT;
}

/* Drivers differ in what they answer where a read-only device is opened for writing: EROFS, EACCES,
 * EPERM, or a descriptor of which every write fails. So the device itself is asked. */
static int check_device_writable(struct posix_lookup *lk, int rc)
{
	bool refused = rc == -EACCES || rc == -EPERM;

	if (!S_ISBLK(lk->st.st_mode) || (rc && !refused))
		return rc;
	if (refused && open_same(lk, O_RDONLY | O_NOCTTY | O_NONBLOCK))
		return rc;
	return medium_is_read_only(lk->fd, true) ? -EROFS : rc;
}

static int open_looked_up(struct posix_lookup *lk, struct err *err)
{
	int flags = (lk->how->write ? O_RDWR : O_RDONLY) | O_NOCTTY;
	int rc = open_same(lk, flags | (lk->how->direct ? O_DIRECT : 0));
	if (rc == -EINVAL && lk->how->direct)
		rc = open_same(lk, flags);
	if (lk->how->write)
		rc = check_device_writable(lk, rc);
	return rc ? say_failed(lk, rc, err) : 0;
}

int posix_lookup_open(struct posix_lookup *lk, struct err *err)
{
	int rc = look_up(lk, err);

	if (!rc)
		rc = find_real_name(lk, err);
	if (!rc)
		rc = check_allowed(lk, err);
	if (!rc)
		rc = posix_lookup_refuse_made_up(lk, err);
	return rc ? rc : open_looked_up(lk, err);
}
