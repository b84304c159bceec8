/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files that we only read, watched for changes by others: length and times tell
 * that something was done to a file, the kernel's notes (inotify) tell a touch from
 * a write. One instance serves all files of an engine: a user may have 128.
 */
#ifndef BLOCKPULL_FILE_WATCH_H
#define BLOCKPULL_FILE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "io/file.h"

struct file_watch;

/* No system call is made before the first file. NULL: no memory. */
struct file_watch *file_watch_new(void);
/* Every file must have ended. NULL is allowed. */
void file_watch_free(struct file_watch *watch);
/* For a child of fork(): closes its descriptor; the watches stay the parent's. */
void file_watch_leave(struct file_watch *watch);

/* What the kernel noted of one file, counted from when it was first watched. */
struct file_notes {
	uint64_t n_writes;  /* written, cut, punched, by a call */
	uint64_t n_touches; /* times, mode, owner or links set */
	/* Notes lost; closed by a writer that neither wrote nor set times by a call. */
	uint64_t n_doubts;
};

/* One open file; all zero where it is not watched. */
struct watched_file {
	struct file_watch *watch; /* NULL: it can't be told why its times change */
	int id;
	struct file_notes known; /* those that the time we accept explains */
	int64_t checked_ns; /* of the real clock: no write after the last look has an older time */
	int64_t unsure_ns;  /* of the monotonic clock: since then a time is unexplained; 0: none */
	bool changed;       /* once said, it stays so */
};

/* Watches an open regular file, before its length and times are taken. Where that can't be (`watch`
 * NULL, no inotify, no /proc, a file system that others may write to unseen) *file is not
 * watched. */
void file_watch_begin(struct watched_file *file, struct file_watch *watch, int fd);
/* Ends the watch. Called before the descriptor is closed: a watched file that was deleted would
 * keep its space. */
void file_watch_end(struct watched_file *file);
/* Whether the content was changed since begin. len and *mtime_ns are as they were then; a new time
 * that is nothing but a touch is put into *mtime_ns. In doubt FILE_UNSURE for some milliseconds, as
 * a note follows what it is of, and then FILE_CHANGED. One thread a file. */
enum file_state file_watch_look(struct watched_file *file, int fd, uint64_t len, int64_t *mtime_ns);

#endif
