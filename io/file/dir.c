/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The one gate that every call on a directory passes: names are checked here, and
 * while a call waits its thread gives back the lock that it may hold (blocking.h).
 */
#include "io/file/dir.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "io/blocking.h"
#include "io/file.h"
#include "io/file/opener.h"

const char *dir_last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_last_part(const char *name)
{
	return *name && !strchr(name, '/');
}

int dir_open(struct file_opener *opener, const char *path, struct dir **out, struct err *err)
{
	return WAITING(opener->open_dir(opener, path, out, err));
}

int dir_create(struct dir *dir, const char *name, const struct file *like, struct file **out,
	       struct err *err)
{
	assert(is_last_part(name));
	return WAITING(dir->ops->create(dir, name, like, out, err));
}

int dir_create_unnamed(struct dir *dir, const char *path, const struct file *like,
		       struct file **out, struct err *err)
{
	if (!dir->ops->create_unnamed)
		return -EOPNOTSUPP;
	return WAITING(dir->ops->create_unnamed(dir, path, like, out, err));
}

void dir_give_mode(struct dir *dir, const struct file *file)
{
	blocking_begin();
	dir->ops->give_mode(dir, file);
	blocking_end();
}

bool dir_has(const struct dir *dir, const char *name)
{
	return WAITING(dir->ops->has(dir, name));
}

int dir_rename(struct dir *dir, const struct file *file, const char *from, const char *to)
{
	assert(is_last_part(from) && is_last_part(to));
	return WAITING(dir->ops->rename(dir, file, from, to));
}

int dir_link(struct dir *dir, const struct file *file, const char *name)
{
	assert(is_last_part(name));
	return WAITING(dir->ops->link(dir, file, name));
}

int dir_remove(struct dir *dir, const char *name)
{
	return WAITING(dir->ops->remove(dir, name));
}

int dir_sync(const struct dir *dir, const struct file *file)
{
	return WAITING(dir->ops->sync(dir, file));
}

void dir_close(struct dir *dir)
{
	if (!dir)
		return;
	blocking_begin();
	dir->ops->close(dir);
	blocking_end();
}
