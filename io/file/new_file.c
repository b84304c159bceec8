/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The file has a name of its own beside the wanted one until all is durable;
 * then it is renamed, and the directory synced. A name that exists is never
 * replaced, even one that appeared meanwhile. Writing to the wanted name at once
 * was rejected: a crash would leave what looks done. A file that is written in a moment has no
 * name at all until then, where the file system has such files (O_TMPFILE). One that takes hours
 * has one, by which its user sees it grow. That the directory lets a
 * file be renamed is tried before anything is written.
 *
 * The file is its owner's alone until it is done: then it gets the mode of the
 * one it is made from, which may be secret, or not to be written to.
 */
#include "io/file/new_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/dir.h"

#define NAME_TRIES 16
#define TEMP_KEPT  200 /* bytes of the wanted name in a temporary one */

struct new_file {
	struct dir *dir; /* held to the end, where nothing may be opened */
	char *path, *temp_path;
	bool is_unnamed; /* until it is published */
	size_t kept;     /* bytes of the wanted name that the temporary one may hold */
};

const char *new_file_show(const struct new_file *nf, struct shown *shown)
{
	return err_escape(nf->path, strlen(nf->path), shown->name, sizeof(shown->name));
}

int new_file_set_name(const struct new_file *nf, struct file *file)
{
	char *name = strdup(nf->path);

	if (!name)
		return -ENOMEM;
	free(file->name);
	file->name = name;
	return 0;
}

/* At most this many bytes of a name, in whole characters: some file systems take no parts of
 * one. */
static int kept_of(const char *name, size_t cap)
{
	size_t len = strlen(name);

	if (len <= cap)
		return (int)len;
	for (len = cap; len && ((unsigned char)name[len] & 0xc0) == 0x80;)
		len--;
	return (int)len;
}

static int draw_temp_path(struct new_file *nf)
{
	const char *last = dir_last_part(nf->path);
	uint32_t salt;

	free(nf->temp_path);
	nf->temp_path = NULL;
	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return -errno;
	return asprintf(&nf->temp_path, "%.*s.%.*s.blockpull-%08x", (int)(last - nf->path),
			nf->path, kept_of(last, nf->kept), last, salt) < 0
		       ? -ENOMEM
		       : 0;
}

/* Leaves temp_path set only if the file exists. */
static int create_empty(struct new_file *nf, const struct file *like, struct file **file,
			struct err *err)
{
	int rc = -EEXIST;

	nf->kept = TEMP_KEPT;
	for (unsigned i = 0; (rc == -EEXIST || rc == -ENAMETOOLONG) && i < NAME_TRIES; i++) {
		*err = (struct err){ 0 };
		nf->kept = rc == -ENAMETOOLONG ? 0 : nf->kept;
		rc = draw_temp_path(nf);
		if (rc)
			return err_errno(err, rc, "cannot make a temporary name");
		rc = dir_create(nf->dir, dir_last_part(nf->temp_path), like, file, err);
	}
	if (rc) {
		free(nf->temp_path);
		nf->temp_path = NULL;
	}
	return rc;
}

/* Finds out if the directory lets files be renamed, by giving this one another temporary name. */
static int try_rename(struct new_file *nf, const struct file *file, struct err *err)
{
	char *old = STEAL(nf->temp_path);
	struct shown shown;
	int rc = draw_temp_path(nf);

	if (!rc)
		rc = dir_rename(nf->dir, file, dir_last_part(old), dir_last_part(nf->temp_path));
	if (!rc && dir_has(nf->dir, dir_last_part(old))) {
		dir_remove(nf->dir, dir_last_part(nf->temp_path));
		rc = -EACCES;
	}
	if (!rc) {
		free(old);
		return 0;
	}
	free(nf->temp_path);
	nf->temp_path = old;
	return err_errno(err, rc,
			 "cannot create '%s': a finished file can't be given its name there: "
			 "choose another directory",
			 new_file_show(nf, &shown));
}

static int open_new(struct file_opener *opener, const char *path, struct new_file **out,
		    struct err *err)
{
	struct new_file *nf = calloc(1, sizeof(*nf));
	int rc;

	if (!nf || !(nf->path = strdup(path))) {
		free(nf);
		return err_set(err, -ENOMEM, "out of memory");
	}
	rc = dir_open(opener, path, &nf->dir, err);
	if (rc)
		new_file_free(nf);
	else
		*out = nf;
	return rc;
}

int new_file_create(struct file_opener *opener, const char *path, const struct file *like,
		    struct new_file **out, struct file **file, struct err *err)
{
	struct new_file *nf;
	int rc = open_new(opener, path, &nf, err);

	if (rc)
		return rc;
	rc = create_empty(nf, like, file, err);
	if (!rc) {
		rc = try_rename(nf, *file, err);
		if (!rc && new_file_set_name(nf, *file))
			rc = err_set(err, -ENOMEM, "out of memory");
		if (rc)
			file_close(*file);
	}
	if (rc)
		new_file_free(nf);
	else
		*out = nf;
	return rc;
}

int new_file_create_unnamed(struct file_opener *opener, const char *path, const struct file *like,
			    struct new_file **out, struct file **file, struct err *err)
{
	struct new_file *nf;
	int rc = open_new(opener, path, &nf, err);

	if (rc)
		return rc;
	rc = dir_create_unnamed(nf->dir, path, like, file, err);
	if (rc) {
		new_file_free(nf);
		return rc;
	}
	nf->is_unnamed = true;
	*out = nf;
	return 0;
}

const char *new_file_temp_path(const struct new_file *nf)
{
	return nf->temp_path;
}

/* The name must not be lost: it is durable when its directory is. Of a file without a name btrfs
 * makes durable the bytes, but not where they are: one that has just got its name is synced once
 * more, or after a power cut the name would lead to an empty file. */
static int sync_name(const struct new_file *nf, struct file *file)
{
	int rc = nf->is_unnamed ? file_sync(file) : 0;

	return rc ? rc : dir_sync(nf->dir, file);
}

static int give_name(struct new_file *nf, struct file *file, struct err *err)
{
	const char *last = dir_last_part(nf->path);
	struct shown shown;
	int rc = nf->is_unnamed ? dir_link(nf->dir, file, last)
				: dir_rename(nf->dir, file, dir_last_part(nf->temp_path), last);

	if (rc == -EOPNOTSUPP && nf->is_unnamed)
		return rc;
	if (rc == -EEXIST)
		return err_set(err, rc,
			       "'%s' exists by now and is left alone: remove it, or choose another "
			       "name",
			       new_file_show(nf, &shown));
	if (rc)
		return err_errno(err, rc, "%s: the new image can't be given its name",
				 new_file_show(nf, &shown));
	free(nf->temp_path);
	nf->temp_path = NULL;
	rc = sync_name(nf, file);
	if (!rc)
		return 0;
	/* The name may be gone after a power cut; so it is removed now. */
	dir_remove(nf->dir, last);
	return err_errno(err, rc, "%s: the new image's name can't be made durable",
			 new_file_show(nf, &shown));
}

int new_file_publish(struct new_file *nf, struct file *file, struct err *err)
{
	struct shown shown;
	int rc;

	dir_give_mode(nf->dir, file);
	rc = file_sync(file);
	return rc ? err_errno(err, rc, "%s: the new image can't be made durable",
			      new_file_show(nf, &shown))
		  : give_name(nf, file, err);
}

void new_file_abandon(struct new_file *nf)
{
	if (!nf->temp_path)
		return;
	dir_remove(nf->dir, dir_last_part(nf->temp_path));
	free(nf->temp_path);
	nf->temp_path = NULL;
}

void new_file_withdraw(struct new_file *nf)
{
	dir_remove(nf->dir, dir_last_part(nf->path));
}

void new_file_free(struct new_file *nf)
{
	if (!nf)
		return;
	new_file_abandon(nf);
	dir_close(nf->dir);
	free(nf->path);
	free(nf);
}
