/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A source of bytes: a regular file or a block device now, anything that can
 * tell its size, read and report block status later. Opening, validating and
 * finishing use the blocking calls below; everything hot goes through io.h.
 *
 * How a name becomes a file is an interface too (struct file_opener), so that
 * a test can give the formats and the engine a file system of its own.
 */
#ifndef BLOCKPULL_FILE_H
#define BLOCKPULL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "io/err.h"

struct dir;
struct file;
struct io;
struct io_req;
struct source;
struct source_expect;
struct file_watch;

/* What a range of a file is, as far as its file system tells. */
struct file_status {
	uint64_t len; /* bytes from the asked offset for which this holds; > 0 before the end */
	bool is_hole; /* reads as zeros and takes no space */
};

enum file_state {
	FILE_SAME,
	FILE_CHANGED,
	FILE_UNSURE, /* not known yet: ask again */
};

struct file_ops {
	/* Reads len bytes at off; returns bytes read (short only at the end of file) or -errno. */
	ssize_t (*read_at)(struct file *file, void *buf, size_t len, uint64_t off);
	/* Writes all of len bytes; 0 or -errno. */
	int (*write_at)(struct file *file, const void *buf, size_t len, uint64_t off);
	/* A write on any thread, beside others, that may make the file longer than asked for, up to
	 * a multiple of io_align. NULL: not needed. */
	int (*write_padded)(struct file *file, const void *buf, size_t len, uint64_t off);
	/* Reads what takes no waiting: bytes, fewer than asked for where the rest does or the file
	 * ends. -EAGAIN: none; -EOPNOTSUPP: and never will be. May be NULL. */
	ssize_t (*read_now)(struct file *file, const struct iovec *iov, unsigned n_iov,
			    uint64_t off);
	/* [off, off + len) of `to` shares the blocks of `from` at from_off, of a file with the same
	 * ops. 0 or -errno. On any thread. May be NULL. */
	int (*clone)(struct file *to, struct file *from, uint64_t from_off, uint64_t off,
		     uint64_t len);
	/* fdatasync; 0 or -errno. */
	int (*sync)(struct file *file);
	int (*truncate)(struct file *file, uint64_t len);
	/* Block status at off < file->len; 0 or -errno. Never waits for file data. */
	int (*status)(struct file *file, uint64_t off, struct file_status *out);
	/* Gives the range's space back to the file system; it reads zeros then. A hint; may be
	 * NULL. */
	void (*discard)(struct file *file, uint64_t off, uint64_t len);
	/* Drops what the page cache holds of it and is durable. May be NULL. */
	void (*uncache)(struct file *file);
	/* Will reads go on where the last one ended (the usual), or not? A hint; may be NULL. */
	void (*expect)(struct file *file, bool scattered);
	/* file_look(); a touch is no change, where it can be told from one: mtime_ns is its time
	 * then. Files of which nothing can be said: NULL. */
	enum file_state (*look)(struct file *file);
	/* Of a source: takes a read over, which no backend can do, and ends it by io_arrive(). */
	void (*submit)(struct file *file, struct io *io, struct io_req *req);
	/* Frees the file; its locks go with it, whatever processes have inherited its
	 * descriptors. */
	void (*close)(struct file *file);
	/* file_rest(), file_wake(). NULL, both: there is nothing to be done. */
	void (*rest)(struct file *file);
	int (*wake)(struct file *file, unsigned lock_wait_ms, struct err *err);
	/* In a child of fork(): closes the child's descriptors and does nothing that the parent
	 * could see; the file and its locks are the parent's. May be NULL, where there are none. */
	void (*leave)(struct file *file);
};

/* Attempts that bring nothing (EINTR, EAGAIN) before a request or a blocking call fails. */
#define IO_MAX_RETRIES 64

struct file {
	const struct file_ops *ops;
	char *name;      /* as it was named, for messages: err_escape() before printing */
	char *real_name; /* symlinks resolved; what the policy was asked about */
	uint64_t len;    /* bytes; the owner raises it when it writes past the end */
	bool writable;
	bool is_block; /* a block device: cannot grow, may hold stale bytes anywhere */
	/* Its device or file system can't be written, whatever this is opened for. */
	bool read_only;
	/* Opened for reading: why this user could not open it for writing, -EACCES or -EPERM
	 * (marked immutable or append-only); 0: nothing known. */
	int may_not_write;
	bool may_clone;   /* its file system knows how to share blocks between files */
	bool trust_holes; /* what status() calls a hole is not read; false: all of it is */
	bool holes_known; /* its file system is known to tell the truth about holes */
	/* It claims holes, which FILE_HOLES_AUTO does not believe: trust would save reads. */
	bool holes_spared;
	/* Bytes that offset, length and memory are multiples of, or a worker does it; 1: any. */
	uint32_t io_align;
	uint64_t dev, ino; /* identity */
	int64_t mtime_ns;  /* when it was opened or touched last; another one: it was changed */
	int fd;            /* -1 where there is none (sim) */
	int lock_fd;       /* a description of its own for the locks; 0 or -1: they are on fd */
	bool is_locked;    /* closing gives the locks back */
	bool is_given;     /* by the program (struct file_giver): its name leads nowhere */
	bool is_source;    /* a program supplies its bytes (source/source.h) */
	struct {
		/* Its bytes say which blocks of this one are zeros. Closed with it. NULL: nothing
		 * is known. */
		struct file *zeros;
		bool doubts_zeros; /* ... and is asked no more: file_doubt_holes() */
		/* Of that one: bytes of the source of which one byte tells. 0: it is another. */
		uint64_t told_len;
		/* What dev and ino are a digest of. NULL: it is like no other. */
		char *identity;
		/* What its bytes must be. NULL: anything. */
		const struct source_expect *expect;
	} of_source;
	int slot;                  /* index in the ring's file table, or -1 */
	struct file *next_closing; /* on a list of files to be closed: file_close_all() */
	bool no_read_now;          /* file.c: it can't read without waiting */
	bool no_uncached;          /* io.c: its file system refuses uncached writes */
};

/* Whose word on holes is taken (--holes). */
enum file_holes {
	FILE_HOLES_AUTO,  /* that of file systems known to tell the truth */
	FILE_HOLES_READ,  /* none: holes are read, too */
	FILE_HOLES_TRUST, /* any: the user knows better */
};

/* Which files an image may name. See "Trust" in docs/architecture.md. */
enum path_rule {
	PATH_RULE_TREE, /* plain files below own_dir, and what `dirs` and `files` name */
	PATH_RULE_ANY,
	PATH_RULE_NONE,
};

/* All names are absolute, symlinks resolved. */
struct path_policy {
	enum path_rule rule;
	const char *own_dir; /* of the image itself: never a device in it, and nothing at all where
				  * this is "/" or NULL (an image on a device has none) */
	const char *const *dirs; /* named by the user: files and devices below them */
	size_t n_dirs;
	const char *const *files; /* single files and devices the user named */
	size_t n_files;
	const char *missing; /* the first that the user named and that is not there, or NULL: allows
			      * nothing, but a refusal tells of it */
};

/* Pure: a file with this absolute, symlink-free name may be opened. */
bool path_policy_allows(const struct path_policy *policy, const char *real_name, bool is_block);
/* Pure: a link of this name, its directory resolved and its last part not, lies in a directory that
 * was named, and so is one of those by which the user allowed devices. */
bool path_policy_allows_link(const struct path_policy *policy, const char *link_name);

enum file_lock {
	FILE_LOCK_NONE,    /* only looking, with --force-share */
	FILE_LOCK_SHARED,  /* a backing file or a reader: bytes 100, 201, 203 */
	FILE_LOCK_OVERLAY, /* the image being pulled: bytes 100-103, 201, 203 */
};

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
	struct file_watch
		*watch; /* of a file that is only read: tells changed() a touch from a write;
				   * outlives the file. NULL: each new time is a change */
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
	/* Removes what create() made, after a failure. */
	int (*remove)(struct file_opener *opener, const char *name);
	/* dir.h */
	int (*open_dir)(struct file_opener *opener, const char *path, struct dir **out,
			struct err *err);
};

/* The machine's own file system. Static, stateless. */
struct file_opener *file_opener_posix(void);

/* Reads exactly len bytes or fails: -errno, or -EUCLEAN past the end of the file. */
int file_read(struct file *file, void *buf, size_t len, uint64_t off);
/* Reads len bytes, those past the end of the file as zeros. */
int file_read_padded(struct file *file, void *buf, size_t len, uint64_t off);
/* What can be read without waiting, in bytes; never an error. */
ssize_t file_read_now(struct file *file, const struct iovec *iov, unsigned n_iov, uint64_t off);
int file_write(struct file *file, const void *buf, size_t len, uint64_t off);
/* The same over bytes that the file has: on any thread, beside what makes the file longer. */
int file_overwrite(struct file *file, const void *buf, size_t len, uint64_t off);
/* Shares blocks instead of copying bytes; all of them or -errno: -EXDEV, -EOPNOTSUPP, -EINVAL and
 * the like where these two files, or these ranges, can't. `to` is not made longer in file->len. On
 * any thread. */
int file_clone(struct file *to, struct file *from, uint64_t from_off, uint64_t off, uint64_t len);
int file_sync(struct file *file);
int file_truncate(struct file *file, uint64_t len);
/* Makes it longer, durably, but not in file->len, which others may look at meanwhile. */
int file_lengthen(struct file *file, uint64_t len);
int file_status(struct file *file, uint64_t off, struct file_status *out);
/* Bytes of a hole from `off` on, as a file system tells that is known to tell the truth; 0: no
 * hole, or nothing is known. For an image's own tables: --holes=trust is about raw files. */
uint64_t file_known_hole(struct file *file, uint64_t off);
/* For openers: sets what the file is to believe. known: its file system tells the truth about
 * holes; claims: it says that there are some. */
void file_judge_holes(struct file *file, enum file_holes want, bool known, bool claims);
/* From now on only a file system that is known to tell the truth is believed, whatever was asked
 * for. */
void file_doubt_holes(struct file *file);
void file_discard(struct file *file, uint64_t off, uint64_t len);
/* Scattered reads: the kernel reads nothing ahead. A hint. */
void file_expect(struct file *file, bool scattered);
/* What is read next comes from the device, as far as the file system obeys. May wait. */
void file_uncache(struct file *file);
/* Whether it was written to since it was opened; FILE_SAME where that can't be told. Not for files
 * we write ourselves. Never sleeps: FILE_UNSURE may be answered for some milliseconds, until what
 * the kernel notes of the file can be trusted. */
enum file_state file_look(struct file *file);
/* FILE_CHANGED, after a sleep of some milliseconds where that takes one. */
bool file_changed(struct file *file);
/* Gives its locks back: other programs may change it from then on. It stays open, and nothing is
 * read or written before file_wake(). */
void file_rest(struct file *file);
/* Takes the locks again, and its length and time as they are now; what the page cache of another
 * machine's file system kept of it is dropped. 0; -EBUSY: another program has it, also after
 * lock_wait_ms; -errno, each with a sentence. */
int file_wake(struct file *file, unsigned lock_wait_ms, struct err *err);
/* NULL is allowed. */
void file_close(struct file *file);
/* All of the list (next_closing), on any thread: no other has them any more. */
void file_close_all(struct file *files);
/* For a child of fork(), which can use the file no more; its memory stays. Idempotent. */
void file_leave(struct file *file);

struct shown {
	char name[512];
};
/* The offset by which a place in it is told of: of the zeros of a source that one's own. */
uint64_t file_shown_off(const struct file *file, uint64_t off);
/* A file's name as it may be printed. */
const char *file_show(const struct file *file, struct shown *shown);

/* Whether an open file's device, or its file system, is read-only. */
bool medium_is_read_only(int fd, bool is_block);
/* What opening it for writing would say: -EACCES, -EPERM, or 0 where nothing forbids it or it can't
 * be asked. */
int medium_user_denied(int fd);
/* -EACCES with a sentence that names the file; why: file.may_not_write. */
int medium_refuse_user(const char *name, int why, struct err *err);
/* -EROFS with a sentence that names the file or device; real_name may be NULL. */
int medium_refuse(const char *name, const char *real_name, bool is_block, struct err *err);

/* Takes QEMU's own OFD lock bytes on an open file and looks for conflicting holders.
 * 0; -EBUSY with a sentence naming the file; 0 with *unsupported set where the file system has
 * no OFD locks. */
int file_lock_take(struct file *file, enum file_lock kind, bool *unsupported, struct err *err);
/* Gives back what file_lock_take() took, before the descriptor is closed. Closing alone would not:
 * a child of fork() has the same open file description, and the locks are the description's. */
void file_lock_drop(struct file *file);

#endif
