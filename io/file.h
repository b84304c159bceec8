/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A source of bytes: a regular file or a block device now, anything that can
 * tell its size, read and report block status later. Opening, validating and
 * finishing use the blocking calls below; everything hot goes through io.h.
 *
 * In file/: opener.h (how a name becomes a file), file_holes.h (what of it is
 * believed to be holes), file_rest.h (others that may change or have it).
 */
#ifndef BLOCKPULL_FILE_H
#define BLOCKPULL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "io/err.h"

struct file;
struct io;
struct io_req;
struct source_expect;
struct file_cached;

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
	/* Writes what takes no waiting, but for now.no_writes: bytes, maybe fewer than asked for;
	 * or -errno: none. NULL: never. */
	ssize_t (*write_now)(struct file *file, const struct iovec *iov, unsigned n_iov,
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
	/* scattered: reads will not go on where the last one ended, as they usually do. A hint; may
	 * be NULL. */
	void (*advise_reads)(struct file *file, bool scattered);
	/* file_look(); a touch is no change, where it can be told from one: mtime_ns is its time
	 * then. Files of which nothing can be said: NULL. */
	enum file_state (*look)(struct file *file);
	/* Sources only: takes a read over, which no backend can do, and ends it by io_arrive(). */
	void (*submit)(struct file *file, struct io *io, struct io_req *req);
	/* Frees the file; its locks go with it, whatever processes have inherited its
	 * descriptors. */
	void (*close)(struct file *file);
	/* file_rest(), file_wake(). NULL, both: there is nothing to be done. */
	void (*rest)(struct file *file);
	int (*wake)(struct file *file, unsigned lock_wait_ms, struct err *err);
	/* file_turn_begin(): the system calls, of which readers of the file see nothing.
	 * file_turn_end(): what they see; also called where turn_begin() failed. NULL, both:
	 * nothing but `writable` changes. */
	int (*turn_begin)(struct file *file, bool write, struct err *err);
	void (*turn_end)(struct file *file, bool write);
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
	/* Its device or file system can't be written to, whatever the file is opened for. */
	bool read_only;
	/* Opened for reading: why this user could not open it for writing, -EACCES or -EPERM
	 * (marked immutable or append-only); 0: nothing known. */
	int may_not_write;
	bool may_clone;   /* its file system knows how to share blocks between files */
	bool trust_holes; /* what status() calls a hole is not read; false: all of it is */
	bool holes_known; /* its file system is known to tell the truth about holes */
	/* It claims holes, which FILE_HOLES_AUTO does not believe: trust would save reads. */
	bool holes_claimed;
	/* Bytes. Of a request whose offset, length or memory is no multiple of it a worker does the
	 * work; 1: any. */
	uint32_t io_align;
	uint64_t dev, ino; /* identity */
	int64_t mtime_ns;  /* when it was opened or touched last; another one: it was changed */
	int fd;            /* -1 where there is none (sim) */
	int lock_fd;       /* a description of its own for the locks; -1: they are on fd */
	bool is_locked;    /* closing gives the locks back */
	bool is_given;     /* by the program (struct file_giver): its name leads nowhere */
	bool is_source;    /* a program supplies its bytes (source/source.h) */
	struct {
		/* Its bytes say which blocks of this one are zeros. Closed with it. NULL: nothing
		 * is known. */
		struct file *zeros;
		bool doubts_zeros; /* `zeros` is believed no more: file_doubt_holes() */
		/* Of a file of zeros: bytes of the source of which one byte tells. 0: the file is
		 * none. */
		uint64_t told_len;
		/* What dev and ino are a digest of. NULL: no other file is the same. */
		char *identity;
		/* What its bytes must be. NULL: anything. */
		const struct source_expect *expect;
	} of_source;
	int slot;                  /* index in the ring's file table, or -1 */
	struct file *next_closing; /* on a list of files to be closed: file_close_all() */
	struct {
		/* Its file system keeps bytes in memory alone: no read or write waits for a
		 * device. */
		bool always;
		bool no_writes; /* a buffered write may wait, whatever it is told */
		bool no_reads;  /* now.c: it can't read without waiting */
		/* Its file system can't begin a buffered write and end it later: threads of the
		 * kernel's do that, one write after the other. */
		bool in_turn;
		/* backends/workers.c, under its lock: it has such a write in hand, and others wait
		 * for its end. */
		bool has_worker;
	} now;
	/* Past the page cache. */
	struct {
		bool no_writes; /* io.c: its file system refuses uncached writes */
		bool no_reads;  /* io.c: it refuses io_req.past_cache */
		/* Of a file that is only read: a second description, for these reads. They are
		 * multiples of align; 0: there is none. */
		uint32_t align;
		int fd; /* -1 where there is none; of no meaning in the simulated machine */
		struct file_cached *seen; /* what was cached as it was opened; NULL: nothing */
		/* When a job read the file's last page through the cache (copy/phases/cold.c).
		 * 0: none has. */
		uint64_t marked_ns;
	} past_cache;
};

/* Reads exactly len bytes or fails: -errno, or -EUCLEAN past the end of the file. */
int file_read(struct file *file, void *buf, size_t len, uint64_t off);
/* Reads len bytes, those past the end of the file as zeros. */
int file_read_padded(struct file *file, void *buf, size_t len, uint64_t off);
int file_write(struct file *file, const void *buf, size_t len, uint64_t off);
/* The same over bytes that the file has already: on any thread, also while another one makes the
 * file longer. */
int file_overwrite(struct file *file, const void *buf, size_t len, uint64_t off);
/* Shares blocks instead of copying bytes; all of them or -errno: -EXDEV, -EOPNOTSUPP, -EINVAL and
 * the like where these two files, or these ranges, can't. `to` is not made longer in file->len. On
 * any thread. */
int file_clone(struct file *to, struct file *from, uint64_t from_off, uint64_t off, uint64_t len);
int file_sync(struct file *file);
int file_truncate(struct file *file, uint64_t len);
/* Cuts off what lies behind len, in steps: each keeps the file system busy for a moment only, and
 * other calls get in between. After an error the file may be shorter, too. */
int file_cut(struct file *file, uint64_t len);
/* Makes it longer, durably, but not in file->len, which others may look at meanwhile. */
int file_lengthen(struct file *file, uint64_t len);
/* Gives the range's space back to the file system, in such steps. A hint. */
void file_discard(struct file *file, uint64_t off, uint64_t len);
/* Scattered reads: the kernel reads nothing ahead. A hint. */
void file_advise_reads(struct file *file, bool scattered);
/* Drops the file's pages from the page cache, as far as the file system obeys: the next reads come
 * from the device. May wait. */
void file_uncache(struct file *file);
/* NULL is allowed. */
void file_close(struct file *file);

struct shown {
	char name[512];
};
/* The offset that a message tells: for a file that holds the zeros of a source, the source's. */
uint64_t file_shown_off(const struct file *file, uint64_t off);
/* A file's name as it may be printed. */
const char *file_show(const struct file *file, struct shown *shown);

#endif
