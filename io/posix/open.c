/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files of the machine's own file system: what posix/lookup.c opened becomes a locked
 * and measured file; new files are created.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file/file_holes.h"
#include "io/file/file_system.h"
#include "io/file/lock.h"
#include "io/file/medium.h"
#include "io/file/opener.h"
#include "io/posix/file.h"
#include "io/posix/given.h"
#include "io/posix/holes.h"
#include "io/posix/lookup.h"
#include "io/posix/open.h"
#include "io/posix/past_cache.h"
#include "io/posix/rest.h"
#include "io/source/source.h"

static bool is_given(const struct posix_lookup *lk)
{
	return lk->how->giver.give;
}

static struct file *new_file(struct posix_lookup *lk)
{
	struct posix_file *pf = calloc(1, sizeof(*pf));
	const struct file_system *fs = file_system_of(lk->fd);
	bool is_block = S_ISBLK(lk->st.st_mode);
	char *name = strdup(lk->how->name);

	if (!pf || !name) {
		free(pf);
		free(name);
		return NULL;
	}
	pf->file = (struct file){
		.ops = &posix_file_ops,
		.name = name,
		.writable = lk->how->write,
		.is_block = is_block,
		.read_only = medium_is_read_only(lk->fd, is_block),
		.may_not_write = lk->how->write || is_given(lk) ? 0 : medium_user_denied(lk->fd),
		.now.in_turn = !is_block && !fs->writes_at_once,
		.now.no_writes = !is_block && fs->writes_wait,
		.now.always = !is_block && fs->in_memory,
		.may_clone = !is_block && fs->may_clone,
		.io_align = posix_direct_align(lk->fd, is_block),
		.dev = lk->st.st_dev,
		.ino = lk->st.st_ino,
		.lock_fd = -1,
		.past_cache.fd = -1,
		.slot = -1,
		.is_given = is_given(lk),
	};
	pf->fs = fs;
	pf->owner = getpid();
	pf->lock = lk->how->lock;
	pthread_mutex_init(&pf->patch_lock, NULL);
	pf->file.fd = lk->fd;
	posix_holes_judge(pf, lk->how->holes);
	pf->file.real_name = STEAL(lk->real_name);
	pf->use = STEAL(lk->use);
	lk->fd = -1;
	return &pf->file;
}

/* Whether the locks get a description of their own. The ring may hold the data's description for a
 * while after the process was killed, and would hold the locks with it. Not with direct I/O: a
 * direct write may outlive the process, as no buffered one does, and the locks must outlive it,
 * too. Threads die with the process and with all that it has open; but of a descriptor that the
 * program gave other processes may have copies. */
static bool wants_lock_fd(const struct posix_lookup *lk, const struct file *file)
{
	return lk->how->outlives ? file->io_align == 1 : is_given(lk);
}

static int lock_file(const struct posix_lookup *lk, struct file *file, bool *unsupported,
		     struct err *err)
{
	if (lk->how->lock != FILE_LOCK_NONE && wants_lock_fd(lk, file))
		file->lock_fd = is_given(lk) ? posix_given_lock_fd(lk)
					     : posix_reopen(file->fd, O_RDONLY | O_NOCTTY);
	*unsupported = false;
	if (lk->how->at_rest)
		return 0;
	return posix_take_locks(file, lk->how->lock, lk->how->lock_wait_ms, unsupported, err);
}

/* From an opened descriptor to a locked, measured file. */
static int finish_file(struct posix_lookup *lk, struct file **out, struct err *err)
{
	struct file *file = new_file(lk);
	bool unsupported;
	int rc;

	if (!file)
		return err_errno(err, -ENOMEM, "cannot open '%s'", lk->shown);
	rc = lock_file(lk, file, &unsupported, err);
	if (!rc && lk->how->lock_unsupported)
		*lk->how->lock_unsupported = unsupported;
	if (!rc) {
		((struct posix_file *)file)->watch = lk->how->watch;
		posix_begin_watch((struct posix_file *)file);
		rc = posix_measure(file);
		if (rc)
			err_errno(err, rc, "cannot find the size of '%s'", lk->shown);
	}
	if (rc) {
		file_close(file);
		return rc;
	}
	if (lk->how->past_cache)
		posix_open_past_cache(file);
	*out = file;
	return 0;
}

int posix_open(const struct file_open *how, struct file **out, struct err *err)
{
	struct posix_lookup lookup;
	int rc;

	if (how->source)
		return source_open(how->source, how->name, how->holes != FILE_HOLES_READ, out, err);
	posix_lookup_begin(&lookup, how);
	rc = is_given(&lookup) ? posix_given_open(&lookup, err) : posix_lookup_open(&lookup, err);
	if (!rc)
		rc = finish_file(&lookup, out, err);
	posix_lookup_drop(&lookup);
	return rc;
}

int posix_say_not_created(const char *shown, int code, struct err *err)
{
	switch (-code) {
	case EEXIST:
		return err_set(err, code,
			       "'%s' exists already and is left alone: remove it, or choose "
			       "another name",
			       shown);
	case ENOENT:
		return err_set(err, code,
			       "cannot create '%s': the directory it would lie in does not exist",
			       shown);
	case EPERM:
		/* EPERM means "refused by policy" to our callers; this is the file system's. */
		return err_set(err, -EACCES,
			       "the system does not allow creating '%s': its directory may be "
			       "marked immutable (see lsattr)",
			       shown);
	default: return err_errno(err, code, "cannot create '%s'", shown);
	}
}

int posix_create(const char *name, mode_t mode, struct file **out, struct err *err)
{
	struct file_open how = { .name = name, .write = true };
	struct posix_lookup lk;
	int rc = 0;

	if (!*name)
		return err_set(err, -EINVAL, "the new file's name is empty: give it one");
	posix_lookup_begin(&lk, &how);
	lk.fd = posix_open_fd(name, O_RDWR | O_CREAT | O_EXCL | O_NOCTTY, mode);
	if (lk.fd < 0)
		return posix_say_not_created(lk.shown, -errno, err);
	if (fstat(lk.fd, &lk.st) || !(lk.real_name = realpath(name, NULL)))
		rc = err_errno(err, -errno, "cannot create '%s'", lk.shown);
	if (!rc)
		rc = finish_file(&lk, out, err);
	if (rc)
		unlink(name);
	posix_lookup_drop(&lk);
	return rc;
}

/* File systems differ in how they refuse, and old kernels take it for the directory's opening.
 * EPERM is an immutable directory's, which takes no file with a name either. */
static bool has_no_unnamed(int code)
{
	return code == EISDIR || code == ENOENT || (code != EPERM && posix_is_refused(-code));
}

int posix_create_unnamed(int dir_fd, const char *name, mode_t mode, struct file **out,
			 struct err *err)
{
	struct file_open how = { .name = name, .write = true };
	struct posix_lookup lk;
	unsigned n_tries = 0;
	int rc = 0;

	posix_lookup_begin(&lk, &how);
	do
		lk.fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	while (lk.fd < 0 && posix_again(&n_tries));
	if (lk.fd < 0)
		return has_no_unnamed(errno) ? -EOPNOTSUPP
					     : posix_say_not_created(lk.shown, -errno, err);
	if (fstat(lk.fd, &lk.st) || !(lk.real_name = strdup(name)))
		rc = err_errno(err, -errno, "cannot create '%s'", lk.shown);
	if (!rc)
		rc = finish_file(&lk, out, err);
	posix_lookup_drop(&lk);
	return rc;
}
