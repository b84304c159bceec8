/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where the code under test enters the simulator the allocations are not its own: see oom.h. Each
 * table that leads there is wrapped by one that pauses: files, directories, the opener, the
 * backend.
 */
#include <stdarg.h>
#include <stdio.h>

#include "io/file/dir.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"
#include "io/source/source.h"
#include "tests/whole/faults/oom.h"

/* ---- files ---- */

static const struct file_ops *real_file;

static ssize_t file_read_at(struct file *file, void *buf, size_t len, uint64_t off)
{
	ssize_t rc;

	oom_pause();
	rc = real_file->read_at(file, buf, len, off);
	oom_resume();
	return rc;
}

static int file_write_at(struct file *file, const void *buf, size_t len, uint64_t off)
{
	int rc;

	oom_pause();
	rc = real_file->write_at(file, buf, len, off);
	oom_resume();
	return rc;
}

static int file_sync_it(struct file *file)
{
	int rc;

	oom_pause();
	rc = real_file->sync(file);
	oom_resume();
	return rc;
}

static int file_truncate_it(struct file *file, uint64_t len)
{
	int rc;

	oom_pause();
	rc = real_file->truncate(file, len);
	oom_resume();
	return rc;
}

static int file_status_at(struct file *file, uint64_t off, struct file_status *out)
{
	return real_file->status(file, off, out);
}

static void file_close_it(struct file *file)
{
	real_file->close(file);
}

static const struct file_ops paused_file = {
	.read_at = file_read_at,
	.write_at = file_write_at,
	.sync = file_sync_it,
	.truncate = file_truncate_it,
	.status = file_status_at,
	.close = file_close_it,
};

static void wrap_file(struct file *file)
{
	real_file = file->ops;
	file->ops = &paused_file;
}

/* ---- directories ---- */

static const struct dir_ops *real_dir;

static int dir_create_in(struct dir *dir, const char *name, const struct file *like,
			 struct file **out, struct err *err)
{
	int rc;

	oom_pause();
	rc = real_dir->create(dir, name, like, out, err);
	oom_resume();
	if (!rc)
		wrap_file(*out);
	return rc;
}

static void dir_give_mode_to(struct dir *dir, const struct file *file)
{
	real_dir->give_mode(dir, file);
}

static bool dir_has_name(const struct dir *dir, const char *name)
{
	bool has;

	oom_pause();
	has = real_dir->has(dir, name);
	oom_resume();
	return has;
}

static int dir_rename_in(struct dir *dir, const struct file *file, const char *from, const char *to)
{
	int rc;

	oom_pause();
	rc = real_dir->rename(dir, file, from, to);
	oom_resume();
	return rc;
}

static int dir_remove_from(struct dir *dir, const char *name)
{
	int rc;

	oom_pause();
	rc = real_dir->remove(dir, name);
	oom_resume();
	return rc;
}

static int dir_sync_it(const struct dir *dir, const struct file *file)
{
	int rc;

	oom_pause();
	rc = real_dir->sync(dir, file);
	oom_resume();
	return rc;
}

static void dir_close_it(struct dir *dir)
{
	real_dir->close(dir);
}

static const struct dir_ops paused_dir = {
	.create = dir_create_in,
	.give_mode = dir_give_mode_to,
	.has = dir_has_name,
	.rename = dir_rename_in,
	.remove = dir_remove_from,
	.sync = dir_sync_it,
	.close = dir_close_it,
};

/* ---- the opener ---- */

static struct file_opener *real_opener;

static int opener_open_dir(struct file_opener *opener, const char *path, struct dir **out,
			   struct err *err)
{
	int rc;

	oom_pause();
	rc = real_opener->open_dir(real_opener, path, out, err);
	oom_resume();
	if (rc)
		return rc;
	real_dir = (*out)->ops;
	(*out)->ops = &paused_dir;
	return 0;
}

static int opener_open(struct file_opener *opener, const struct file_open *how, struct file **out,
		       struct err *err)
{
	int rc;

	if (how->source) /* the product's own, and its memory counts */
		return source_open(how->source, how->name, how->holes != FILE_HOLES_READ, out, err);
	oom_pause();
	rc = real_opener->open(real_opener, how, out, err);
	oom_resume();
	if (rc)
		return rc;
	wrap_file(*out);
	return 0;
}

struct file_opener *oom_opener(struct file_opener *inner)
{
	static struct file_opener opener = { .open = opener_open, .open_dir = opener_open_dir };

	real_opener = inner;
	return &opener;
}

/* ---- the backend ---- */

static struct io *real_io;

static void io_submit_it(struct io *io, struct io_req *req)
{
	oom_pause();
	io_submit(real_io, req);
	oom_resume();
}

static void io_kick_it(struct io *io)
{
	oom_pause();
	io_kick(real_io);
	oom_resume();
}

static unsigned io_reap_some(struct io *io, struct io_req **out, unsigned max)
{
	unsigned n;

	oom_pause();
	n = io_reap(real_io, out, max);
	oom_resume();
	return n;
}

static int io_fd_of(const struct io *io)
{
	return io_fd(real_io);
}

static void io_destroy_it(struct io *io)
{
	io_close(real_io);
}

struct io *oom_io(struct io *inner)
{
	static const struct io_ops ops = {
		.name = "oom",
		.submit = io_submit_it,
		.kick = io_kick_it,
		.reap = io_reap_some,
		.fd = io_fd_of,
		.destroy = io_destroy_it,
	};
	static struct io io;

	real_io = inner;
	io = (struct io){ .ops = &ops };
	return &io;
}
