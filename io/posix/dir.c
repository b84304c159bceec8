/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Directories of the machine's own file system. That they can be read is not
 * demanded: a user may be allowed to write and search one only.
 */
#include "io/posix/dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/libc.h"
#include "io/posix/file.h"
#include "io/posix/lookup.h"
#include "io/posix/mode.h"
#include "io/posix/open.h"
#include "io/posix/rename.h"

#define PRIVATE_MODE 0600

static int open_dir_fd(const char *name, int flags)
{
	int fd = posix_open_fd(name, flags | O_DIRECTORY, 0);

	return fd < 0 ? posix_error() : fd;
}

/* Names can be made in there, but neither changed nor removed. */
static bool is_append_only(int fd)
{
	struct statx sx;

	return !libc_statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx) &&
	       sx.stx_attributes & STATX_ATTR_APPEND;
}

static int check_name_is_free(const char *path, const char *dir_name, const char *shown,
			      struct err *err)
{
	struct stat st;

	if (!*path)
		return err_set(err, -EINVAL, "the new file's name is empty: give it one");
	if (!lstat(path, &st))
		return posix_say_not_created(shown, -EEXIST, err);
	if (errno != ENOENT)
		return err_errno(err, -errno, "cannot create '%s'", shown);
	/* A path that ends in a slash names no file, whatever appears there meanwhile. */
	if (!*dir_last_part(path) || stat(dir_name, &st))
		return posix_say_not_created(shown, -ENOENT, err);
	return 0;
}

static int open_fd(struct posix_dir *pd, const char *dir_name, const char *shown, struct err *err)
{
	pd->fd = open_dir_fd(dir_name, O_RDONLY);
	pd->can_sync = pd->fd != -EACCES && pd->fd != -EPERM;
	if (!pd->can_sync)
		pd->fd = open_dir_fd(dir_name, O_PATH);
	if (pd->fd < 0)
		return err_errno(err, pd->fd, "cannot open the directory of '%s'", shown);
	return 0;
}

/* ---- a new file in it ---- */

/* The umask decides on the new file's mode: it is like no file, or like a source, which has no
 * mode, or like a device, whose mode is a rule of the machine. */
static bool is_masked(const struct file *like)
{
	return !like || like->is_block || like->fd < 0;
}

/* The mode that `like` has, or 0666. */
static int find_mode(struct posix_dir *pd, const struct file *like, struct err *err)
{
	struct shown shown;
	int rc;

	pd->mode = 0666;
	rc = !like || like->fd < 0 ? 0 : posix_mode(like->fd, &pd->mode);
	return rc ? err_errno(err, rc, "%s: cannot find its mode", file_show(like, &shown)) : 0;
}

static mode_t mode_at_first(const struct posix_dir *pd, const struct file *like)
{
	return is_masked(like) ? pd->mode & 0666 : PRIVATE_MODE;
}

static void make_private(struct posix_dir *pd, const struct file *like, const struct file *file)
{
	struct stat st;

	if (is_masked(like) && !fstat(file->fd, &st))
		pd->mode = st.st_mode & 0777;
	/* File systems without modes refuse it, and nothing is lost by that. */
	if (fchmod(file->fd, PRIVATE_MODE))
		errno = 0;
}

static int create_private(struct dir *dir, const char *name, const struct file *like,
			  struct file **out, struct err *err)
{
	struct posix_dir *pd = (struct posix_dir *)dir;
	autofree char *path = NULL;
	int rc = find_mode(pd, like, err);

	if (rc)
		return rc;
	if (is_append_only(pd->fd))
		return err_set(err, -EACCES,
			       "cannot create '%s%s': its directory is append-only (see lsattr), "
			       "so a finished file can't get its name there: choose another one",
			       pd->prefix, name);
	if (asprintf(&path, "%s%s", pd->prefix, name) < 0) {
		path = NULL;
		return err_errno(err, -ENOMEM, "cannot make a temporary name");
	}
	rc = posix_create(path, mode_at_first(pd, like), out, err);
	if (!rc)
		make_private(pd, like, *out);
	return rc;
}

/* link_unnamed() gives such a file its name by way of /proc; there is no other way for a user who
 * may not read all files. */
static int create_unnamed(struct dir *dir, const char *path, const struct file *like,
			  struct file **out, struct err *err)
{
	struct posix_dir *pd = (struct posix_dir *)dir;
	int rc = find_mode(pd, like, err);

	if (rc)
		return rc;
	if (access("/proc/self/fd", X_OK))
		return -EOPNOTSUPP;
	rc = posix_create_unnamed(pd->fd, path, mode_at_first(pd, like), out, err);
	if (!rc)
		make_private(pd, like, *out);
	return rc;
}

static void give_mode(struct dir *dir, const struct file *file)
{
	if (fchmod(file->fd, ((struct posix_dir *)dir)->mode))
		errno = 0;
}

/* ---- names ---- */

static bool has_name(const struct dir *dir, const char *name)
{
	struct stat st;

	return !fstatat(((const struct posix_dir *)dir)->fd, name, &st, AT_SYMLINK_NOFOLLOW);
}

static int rename_in(struct dir *dir, const struct file *file, const char *from, const char *to)
{
	return posix_rename((struct posix_dir *)dir, file->fd, from, to);
}

static int link_unnamed(struct dir *dir, const struct file *file, const char *name)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", file->fd);
	if (!linkat(AT_FDCWD, link, ((struct posix_dir *)dir)->fd, name, AT_SYMLINK_FOLLOW))
		return 0;
	return posix_is_refused(-errno) ? -EOPNOTSUPP : -errno;
}

static int remove_name(struct dir *dir, const char *name)
{
	return unlinkat(((struct posix_dir *)dir)->fd, name, 0) ? -errno : 0;
}

static int call_again(int (*call)(int fd), int fd)
{
	unsigned n_tries = 0;

	while (call(fd))
		if (!posix_again(&n_tries))
			return posix_error();
	return 0;
}

static int sync_names(const struct dir *dir, const struct file *file)
{
	const struct posix_dir *pd = (const struct posix_dir *)dir;
	int rc = pd->can_sync ? call_again(fsync, pd->fd) : -EINVAL, last;

	if (!posix_is_refused(rc))
		return rc;
	/* CIFS, vboxsf and some of FUSE have no fsync of a directory. The whole file system, or the
	 * file that was renamed, is the next best thing to ask for. An error of the first may be
	 * that of another's file, where the second has none. */
	rc = call_again(syncfs, file->fd);
	last = rc ? call_again(fsync, file->fd) : 0;
	if (!posix_is_refused(last))
		return last;
	return posix_is_refused(rc) ? 0 : rc;
}

/* ---- open and close ---- */

static void close_dir(struct dir *dir)
{
	struct posix_dir *pd = (struct posix_dir *)dir;

	if (pd->fd >= 0)
		close(pd->fd);
	free(pd->prefix);
	free(pd);
}

static const struct dir_ops posix_dir_ops = {
	.create = create_private,
	.create_unnamed = create_unnamed,
	.give_mode = give_mode,
	.has = has_name,
	.rename = rename_in,
	.link = link_unnamed,
	.remove = remove_name,
	.sync = sync_names,
	.close = close_dir,
};

int posix_dir_open(struct file_opener *opener, const char *path, struct dir **out, struct err *err)
{
	struct posix_dir *pd = calloc(1, sizeof(*pd));
	const char *last = dir_last_part(path), *dir_name;
	struct shown shown;
	int rc;

	if (!pd || !(pd->prefix = strndup(path, (size_t)(last - path)))) {
		free(pd);
		return err_set(err, -ENOMEM, "out of memory");
	}
	pd->dir.ops = &posix_dir_ops;
	pd->fd = -1;
	dir_name = *pd->prefix ? pd->prefix : ".";
	err_escape(path, strlen(path), shown.name, sizeof(shown.name));
	rc = check_name_is_free(path, dir_name, shown.name, err);
	if (!rc)
		rc = open_fd(pd, dir_name, shown.name, err);
	if (rc)
		close_dir(&pd->dir);
	else
		*out = &pd->dir;
	return rc;
}
