/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An open file that was only read and is to be written to, or the other way round: a base that
 * takes what lies above it, an overlay that got one of its own.
 *
 * Opening it again by its name was rejected: the name may lead elsewhere by now. /proc leads to the
 * very file, and the new description takes the old one's number, so that what holds the number
 * need not know.
 *
 * Guests go on to read the file meanwhile, and look at its length and at what is kept of its holes:
 * those change in posix_turn_end(), under the engine's lock, and not while the system calls run.
 */
#include <fcntl.h>
#include <unistd.h>

#include "io/file/lock.h"
#include "io/file/medium.h"
#include "io/posix/file.h"
#include "io/posix/lookup.h"
#include "io/posix/rest.h"
#include "io/posix/turn.h"

static bool is_open_for_writing(const struct file *file)
{
	int flags = fcntl(file->fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_RDWR;
}

/* A descriptor of the same file that can be written to, or -errno. */
static int open_for_writing(const struct file *file)
{
	int flags = fcntl(file->fd, F_GETFL);
	int fd = posix_reopen(file->fd, O_RDWR | O_NOCTTY | (flags & O_DIRECT));

	return fd < 0 ? -errno : fd;
}

static int say_unwritable(const struct file *file, int rc, struct err *err)
{
	struct shown shown;

	if (rc == -EACCES || rc == -EPERM)
		return medium_refuse_user(file->name, rc, err);
	return err_errno(err, rc, "'%s' cannot be opened for writing", file_show(file, &shown));
}

/* The locks are on the description that is about to lose its number: they get one for it. */
static int keep_locks(struct file *file)
{
	int fd;

	if (file->lock_fd >= 0)
		return 0;
	fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	file->lock_fd = fd;
	return 0;
}

static int replace_descriptor(struct file *file, struct err *err)
{
	int fd = open_for_writing(file), rc;

	if (fd < 0)
		return say_unwritable(file, fd, err);
	rc = keep_locks(file);
	if (!rc && dup3(fd, file->fd, O_CLOEXEC) < 0)
		rc = -errno;
	close(fd);
	return rc ? say_unwritable(file, rc, err) : 0;
}

/* Forgets what was kept of the file while it was read, or written, only. */
static void forget(struct posix_file *pf)
{
	pf->extent_off = pf->extent_end = 0;
	file_watch_end(&pf->watched);
	pf->watched = (struct watched_file){ 0 };
}

static int say_unmeasured(const struct file *file, int rc, struct err *err)
{
	struct shown shown;

	return err_errno(err, rc, "cannot find the size of '%s'", file_show(file, &shown));
}

static int ask_new_size(struct file *file)
{
	struct posix_file *pf = (struct posix_file *)file;

	return posix_ask_size(file, &pf->turn.size);
}

/* The file is measured under an overlay's lock, when no other program changes it any more. Where
 * something fails the lock is given back, which can't fail; a description for writing stays. */
static int turn_writable(struct file *file, enum file_lock from, struct err *err)
{
	int rc = file_lock_change(file, from, FILE_LOCK_OVERLAY, err);

	if (rc)
		return rc;
	if (!is_open_for_writing(file))
		rc = replace_descriptor(file, err);
	if (!rc) {
		rc = ask_new_size(file);
		if (rc)
			say_unmeasured(file, rc, err);
	}
	if (rc)
		file_lock_change(file, FILE_LOCK_OVERLAY, from, NULL);
	return rc;
}

/* Measured first: a writer's lock that was given back might be another's by the time that it is
 * wanted again. */
static int turn_read_only(struct file *file, enum file_lock from, struct err *err)
{
	int rc = ask_new_size(file);

	return rc ? say_unmeasured(file, rc, err)
		  : file_lock_change(file, from, FILE_LOCK_SHARED, err);
}

int posix_turn_begin(struct file *file, bool write, struct err *err)
{
	struct posix_file *pf = (struct posix_file *)file;
	struct shown shown;
	int rc;

	if (pf->lock == FILE_LOCK_NONE)
		return err_set(err, -EINVAL, "'%s' was opened without locks, only to be looked at",
			       file_show(file, &shown));
	rc = write ? turn_writable(file, pf->lock, err) : turn_read_only(file, pf->lock, err);
	if (rc)
		return rc;
	pf->lock = write ? FILE_LOCK_OVERLAY : FILE_LOCK_SHARED;
	pf->turn.is_done = true;
	return 0;
}

void posix_turn_end(struct file *file, bool write)
{
	struct posix_file *pf = (struct posix_file *)file;

	if (!pf->turn.is_done)
		return;
	pf->turn.is_done = false;
	file->len = pf->turn.size.len;
	file->mtime_ns = pf->turn.size.mtime_ns;
	forget(pf);
	file->writable = write;
	posix_begin_watch(pf);
}
