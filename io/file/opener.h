/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How a name becomes a file: an interface, so that a test can give the formats
 * and the engine a file system of its own.
 */
#ifndef BLOCKPULL_IO_OPENER_H
#define BLOCKPULL_IO_OPENER_H

#include <stdbool.h>

#include "io/file/file_holes.h"
#include "io/file/lock.h"

struct dir;
struct err;
struct file;
struct file_watch;
struct path_policy;
struct source;

/* What is asked of a program that opens the files itself. */
struct file_wish {
	const char *name;     /* as the chain comes to it */
	const char *recorded; /* as the image above has it; NULL: the image itself */
	bool is_data;         /* an image's data file */
	bool write;           /* for reading and writing, else for reading */
	/* A second description of the file asked for just before, for its locks; it need not be
	 * had. */
	bool for_locks;
};

struct file_giver {
	/* A descriptor, which is the file's from then on, or -errno: refused. NULL: names are
	 * opened. */
	int (*give)(void *opaque, const struct file_wish *wish);
	void *opaque;
};

struct file_open {
	const char *name; /* path, relative to the process's directory or absolute */
	struct file_giver giver;
	const char *recorded; /* for the giver: as struct file_wish has them */
	bool is_data;
	/* Taken over, whatever is returned, and opened instead of the name; NULL: none. */
	const struct source *source;
	bool write;  /* read-write, else read-only */
	bool direct; /* O_DIRECT wanted; done without where refused */
	/* Without write: much of it may be read, and only once. Where it can be read past the page
	 * cache it gets a description for that, which takes one more descriptor. */
	bool past_cache;
	enum file_holes holes;
	enum file_lock lock;
	/* Ask again for a lock that is held, this long: a process killed a moment ago gives its
	 * own back only when the kernel has ended its ring. */
	unsigned lock_wait_ms;
	bool at_rest; /* without its locks, as after file_rest() */
	/* What will work on it may hold its description after the process was killed: the locks
	 * get a description of their own, which takes one more descriptor. */
	bool outlives;
	/* Set to whether the file system has no OFD locks; NULL: don't say. */
	bool *lock_unsupported;
	/* Of a file that is only read: tells file_look() a touch from a write. Outlives the file.
	 * NULL: each new time is a change. */
	struct file_watch *watch;
	const struct path_policy *policy; /* NULL: the user named it, any regular file or device */
};

struct file_opener {
	/* Opens without ever blocking on a fifo or device: the file that was checked (type, policy)
	 * is the one used. Errors: -ENOENT, -EISDIR, -EPERM refused by policy, -EACCES, -EROFS,
	 * -EBUSY locked, -EINVAL neither file nor block device; each with a sentence. */
	int (*open)(struct file_opener *opener, const struct file_open *how, struct file **out,
		    struct err *err);
	/* Creates an empty file (-EEXIST if there is one), open for writing. */
	int (*create)(struct file_opener *opener, const char *name, struct file **out,
		      struct err *err);
	/* dir.h */
	int (*open_dir)(struct file_opener *opener, const char *path, struct dir **out,
			struct err *err);
};

#endif
