/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files that the program opens: a process in a jail has no names, but descriptors. What comes is
 * looked at as a file that we open is: what it is, and for what it was opened. Its description is
 * ours from then on, and its flags are set as an open of ours would have set them.
 *
 * They are set once. A program may answer with a copy of a descriptor that it has given before,
 * of a file that is in use: flags, locks and the offset are those of all copies. So a file that is
 * open already keeps its flags, and who opens it again reads it as they are. Reads and writes say
 * where; nothing trusts the offset.
 *
 * Opening it again through /proc/self/fd was rejected: that is a name, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file/medium.h"
#include "io/file/opener.h"
#include "io/posix/file.h"
#include "io/posix/lookup.h"

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

/* ---- flags ---- */

/* A given file while it is open. */
struct given_use {
	struct given_use *next;
	dev_t dev;
	ino_t ino;
	bool write;
};

/* What is open in this process. The lock is also for flags: they are read, and set from that. */
static pthread_mutex_t uses_lock = PTHREAD_MUTEX_INITIALIZER;
static struct given_use *uses;

/* Whether descriptors share a description nothing tells for certain, so a file counts. One that is
 * only read so far is the exception: it may be written to, and a look at it says nothing of how. */
static bool may_decide(const struct given_use *use)
{
	for (const struct given_use *other = uses; other; other = other->next)
		if (other->dev == use->dev && other->ino == use->ino &&
		    (other->write || !use->write))
			return false;
	return true;
}

/* The description's flags as an open of ours has them: io_uring ends reads that would wait with
 * EAGAIN where O_NONBLOCK is set, and with O_DIRECT that was not asked for two requests could
 * change one block at once. */
static int set_flags(const struct posix_lookup *lk, bool decides)
{
	int flags = fcntl(lk->fd, F_GETFL);
	int wanted = flags & ~(O_NONBLOCK | (decides ? O_DIRECT : 0));

	if (flags < 0 || fcntl(lk->fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	/* A file system without direct I/O says so here. */
	if (decides && lk->how->direct && !fcntl(lk->fd, F_SETFL, wanted | O_DIRECT))
		return 0;
	return wanted == flags || !fcntl(lk->fd, F_SETFL, wanted) ? 0 : -errno;
}

static int begin_use(struct posix_lookup *lk)
{
	struct given_use *use = malloc(sizeof(*use));
	int rc;

	if (!use)
		return -ENOMEM;
	*use = (struct given_use){ .dev = lk->st.st_dev,
				   .ino = lk->st.st_ino,
				   .write = lk->how->write };
	pthread_mutex_lock(&uses_lock);
	rc = set_flags(lk, may_decide(use));
	use->next = uses;
	uses = use;
	pthread_mutex_unlock(&uses_lock);
	lk->use = use;
	return rc;
}

void posix_given_end(struct given_use *use)
{
	struct given_use **at = &uses;

	if (!use)
		return;
	pthread_mutex_lock(&uses_lock);
	while (*at != use)
		at = &(*at)->next;
	*at = use->next;
	pthread_mutex_unlock(&uses_lock);
	free(use);
}

/* ---- opening ---- */

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
		rc = posix_lookup_on_disk(lk, err);
	if (!rc && lk->how->write && medium_is_read_only(lk->fd, S_ISBLK(lk->st.st_mode)))
		rc = medium_refuse(lk->how->name, NULL, S_ISBLK(lk->st.st_mode), err);
	if (rc)
		return rc;
	rc = begin_use(lk);
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
