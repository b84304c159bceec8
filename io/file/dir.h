/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A directory in which a new file gets its name when it is finished. An interface, as files are, so
 * that a test can give the engine directories of its own. Names are last parts of paths. All calls
 * block.
 */
#ifndef BLOCKPULL_DIR_H
#define BLOCKPULL_DIR_H

#include <stdbool.h>

struct dir;
struct err;
struct file;
struct file_opener;

struct dir_ops {
	/* An empty file of this name, open for writing, its owner's alone. `like`: the file whose
	 * mode it gets from give_mode(); NULL: what the umask leaves. -EEXIST, -ENAMETOOLONG or
	 * another -errno with a sentence. */
	int (*create)(struct dir *dir, const char *name, const struct file *like, struct file **out,
		      struct err *err);
	/* The same without a name, until link() gives it one: before that the file is gone when its
	 * last descriptor is closed. -EOPNOTSUPP, without a sentence: there are no such files here.
	 * NULL: never. */
	int (*create_unnamed)(struct dir *dir, const char *path, const struct file *like,
			      struct file **out, struct err *err);
	/* Gives the file the mode that create() was told. Refused by file systems without modes,
	 * where nothing is lost by that. */
	void (*give_mode)(struct dir *dir, const struct file *file);
	/* There is a file of this name. False where it can't be told. */
	bool (*has)(const struct dir *dir, const char *name);
	/* The open file `file`, called `from`, is called `to` instead; a file of that name is left
	 * alone (-EEXIST). Opens nothing. 0 or -errno. */
	int (*rename)(struct dir *dir, const struct file *file, const char *from, const char *to);
	/* The file without a name is called so; one of that name is left alone (-EEXIST). 0 or
	 * -errno; -EOPNOTSUPP: it can't be done here. */
	int (*link)(struct dir *dir, const struct file *file, const char *name);
	int (*remove)(struct dir *dir, const char *name);
	/* What was renamed stays renamed after a power cut, as far as the file system can say that;
	 * `file` is one in it. 0 or -errno. */
	int (*sync)(const struct dir *dir, const struct file *file);
	void (*close)(struct dir *dir);
};

struct dir {
	const struct dir_ops *ops;
};

/* Opens the directory that `path`, a name that is free, lies in; -EEXIST where it is not. 0 or
 * -errno with a sentence. */
int dir_open(struct file_opener *opener, const char *path, struct dir **out, struct err *err);
int dir_create(struct dir *dir, const char *name, const struct file *like, struct file **out,
	       struct err *err);
/* `path`: what messages call it. */
int dir_create_unnamed(struct dir *dir, const char *path, const struct file *like,
		       struct file **out, struct err *err);
void dir_give_mode(struct dir *dir, const struct file *file);
bool dir_has(const struct dir *dir, const char *name);
int dir_rename(struct dir *dir, const struct file *file, const char *from, const char *to);
int dir_link(struct dir *dir, const struct file *file, const char *name);
int dir_remove(struct dir *dir, const char *name);
int dir_sync(const struct dir *dir, const struct file *file);
/* NULL is allowed. */
void dir_close(struct dir *dir);

/* The last part of a path. */
const char *dir_last_part(const char *path);

#endif
