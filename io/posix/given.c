/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files that the program opens: a process in a jail has no names, but descriptors. What comes is
 * looked at as a file that we open is: what it is, and for what it was opened. Its description is
 * ours from then on, and its flags are set as an open of ours would have set them (use.c).
 *
 * Opening it again through /proc/self/fd was rejected: that is a name, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "io/file/medium.h"
#include "io/file/opener.h"
#include "io/posix/file.h"
#include "io/posix/given.h"
#include "io/posix/lookup.h"
#include "io/posix/use.h"

static struct file_wish wish_of(const struct file_open *how)
{
	return (struct file_wish){ .name = how->name,
				   .recorded = how->recorded,
				   .is_data = how->is_data,
				   .write = how->write };
}

static int say_refused(const struct posix_lookup *lk, int code, struct err *err)
{
	if (code == -EPERM || code == -ENOENT)
		return err_set(err, code,
			       "'%s' was not given to this process, which opens no file by itself: "
			       "give a descriptor for it, or mend the name in the image",
			       lk->shown);
	return err_errno(err, code, "'%s' was not given to this process for %s", lk->shown,
			 lk->how->write ? "reading and writing" : "reading");
}

static int check_mode(const struct posix_lookup *lk, int flags, struct err *err)
{
	if (flags & O_PATH)
		return err_set(err, -EBADF,
			       "the descriptor given for '%s' is one of a name only (O_PATH): open "
			       "it for reading",
			       lk->shown);
	if ((flags & O_ACCMODE) == O_WRONLY || (lk->how->write && (flags & O_ACCMODE) != O_RDWR))
		return err_set(err, -EACCES,
			       "the descriptor given for '%s' is not open for %s, which is needed",
			       lk->shown, lk->how->write ? "reading and writing" : "reading");
	if (lk->how->write && flags & O_APPEND)
		return err_set(err, -EINVAL,
			       "the descriptor given for '%s' appends whatever is written "
			       "(O_APPEND): open it without that",
			       lk->shown);
	return 0;
}

static int judge_given(struct posix_lookup *lk, struct err *err)
{
	int flags = fcntl(lk->fd, F_GETFL), rc;

	if (flags < 0 || fstat(lk->fd, &lk->st))
		return err_errno(err, -errno, "cannot use the descriptor given for '%s'",
				 lk->shown);
	rc = posix_lookup_judge(lk, err);
	if (!rc)
		rc = check_mode(lk, flags, err);
	if (!rc)
		rc = posix_lookup_refuse_made_up(lk, err);
	if (!rc && lk->how->write && medium_is_read_only(lk->fd, S_ISBLK(lk->st.st_mode)))
		rc = medium_refuse(lk->how->name, NULL, S_ISBLK(lk->st.st_mode), err);
	if (rc)
		return rc;
	rc = posix_use_begin(lk);
	if (rc)
		return err_errno(err, rc, "cannot set the flags of the descriptor given for '%s'",
				 lk->shown);
	lk->real_name = strdup(lk->how->name);
	return lk->real_name ? 0 : err_errno(err, -ENOMEM, "cannot open '%s'", lk->shown);
}

int posix_given_open(struct posix_lookup *lk, struct err *err)
{
	struct file_wish wish = wish_of(lk->how);
	int fd = lk->how->giver.give(lk->how->giver.opaque, &wish);

	if (fd < 0)
		return say_refused(lk, fd, err);
	lk->fd = fd;
	return judge_given(lk, err);
}

int posix_given_lock_fd(const struct posix_lookup *lk)
{
	struct file_wish wish = wish_of(lk->how);
	struct stat st;
	int fd;

	wish.write = false;
	wish.for_locks = true;
	fd = lk->how->giver.give(lk->how->giver.opaque, &wish);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || !posix_lookup_is_same(lk, &st) || fcntl(fd, F_SETFD, FD_CLOEXEC) ||
	    (fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)) == O_WRONLY) {
		close(fd);
		return -1;
	}
	return fd;
}
