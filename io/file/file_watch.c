/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A touch is no change. A new time alone may be either; so the kernel's notes must
 * explain it, and all that they leave open counts as a change:
 *
 * - A write by a call leaves a note and decides, whatever the times say.
 * - Times that are set leave a note (IN_ATTRIB), as do a new mode, owner or link,
 *   which leave the time alone. What was noted while the time stayed explains
 *   nothing later.
 * - A write through a mapping, a loop device or the kernel's asynchronous calls, or
 *   by another machine, leaves a new time without a note.
 * - Such a write and a note of another thing between two looks: a writer that is
 *   closed leaves a note of that, which a touch that opens the file does, too, but
 *   behind the note of the times. And a write's time is not older than the last
 *   look, and is that of the inode's last change, unless that was a later one: such
 *   a time is believed only where it was surely set.
 *
 * What stays open: a writer of that kind that does not close the file, and a touch,
 * between two looks. The looks are as far apart as commits.
 *
 * Taking a lease, to know that there is no writer, was rejected: a program that
 * opens the file meanwhile sends this process a signal. Fanotify wants a privilege.
 */
#include "io/file/file_watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file/file_system.h"

/* Notes alike, one behind the other, become one: opening stands between two that are closed. */
#define WATCH_MASK (IN_MODIFY | IN_ATTRIB | IN_OPEN | IN_CLOSE_WRITE)
/* A note follows what it is of: so long it is waited for. */
#define MAX_UNSURE_NS 9000000
#define MAX_LOOKS     10
/* A program that sets the time to now asks the clock first. */
#define SET_NOW_NS 10000000

/* One inode; the kernel has one watch for all files that are opened of it. */
struct watched_inode {
	int id;
	unsigned n_users;
	struct file_notes notes;
	bool has_touch; /* noted since a writer closed it last */
};

struct file_watch {
	pthread_mutex_t lock;
	int fd; /* of the instance, or -1 */
	struct watched_inode *inodes;
	size_t n, room;
};

struct file_watch *file_watch_new(void)
{
	struct file_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	pthread_mutex_init(&watch->lock, NULL);
	watch->fd = -1;
	return watch;
}

void file_watch_free(struct file_watch *watch)
{
	if (!watch)
		return;
	if (watch->fd >= 0)
		close(watch->fd);
	pthread_mutex_destroy(&watch->lock);
	free(watch->inodes);
	free(watch);
}

void file_watch_leave(struct file_watch *watch)
{
	if (watch->fd >= 0)
		close(watch->fd);
	watch->fd = -1;
}

static struct watched_inode *find_inode(struct file_watch *watch, int id)
{
	for (size_t i = 0; i < watch->n; i++)
		if (watch->inodes[i].id == id)
			return &watch->inodes[i];
	return NULL;
}

/* ---- notes ---- */

static void take_note(struct file_watch *watch, const struct inotify_event *event)
{
	struct watched_inode *inode = find_inode(watch, event->wd);

	if (event->mask & IN_Q_OVERFLOW)
		for (size_t i = 0; i < watch->n; i++)
			watch->inodes[i].notes.n_doubts++;
	if (!inode)
		return;
	if (event->mask & IN_MODIFY)
		inode->notes.n_writes++;
	if (event->mask & IN_ATTRIB) {
		inode->notes.n_touches++;
		inode->has_touch = true;
	}
	if (event->mask & IN_CLOSE_WRITE) {
		inode->notes.n_doubts += !inode->has_touch;
		inode->has_touch = false;
	}
	if (event->mask & (IN_IGNORED | IN_UNMOUNT))
		inode->notes.n_doubts++;
}

static void take_notes(struct file_watch *watch)
{
	_Alignas(struct inotify_event) char buf[4096];
	ssize_t got;

	while ((got = read(watch->fd, buf, sizeof(buf))) > 0 || (got < 0 && errno == EINTR))
		for (ssize_t at = 0; at < got;) {
			const struct inotify_event *event = (const void *)(buf + at);

			take_note(watch, event);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
}

static struct file_notes notes_of(const struct watched_file *file)
{
	struct file_watch *watch = file->watch;
	struct watched_inode *inode;
	struct file_notes notes;

	pthread_mutex_lock(&watch->lock);
	take_notes(watch);
	inode = find_inode(watch, file->id);
	notes = inode ? inode->notes : (struct file_notes){ .n_doubts = UINT64_MAX };
	pthread_mutex_unlock(&watch->lock);
	return notes;
}

/* ---- begin and end ---- */

/* The kernel's watch for what fd has open, or -1. The name may be another file's by now. */
static int add_watch(struct file_watch *watch, int fd)
{
	struct stat have, led_to;
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fstat(fd, &have) || stat(link, &led_to) || have.st_dev != led_to.st_dev ||
	    have.st_ino != led_to.st_ino)
		return -1;
	if (watch->fd < 0)
		watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	return watch->fd < 0 ? -1 : inotify_add_watch(watch->fd, link, WATCH_MASK);
}

static struct watched_inode *hold_inode(struct file_watch *watch, int fd)
{
	struct watched_inode *inode;
	int id;

	if (array_reserve(&watch->inodes, watch->n, 1, &watch->room, sizeof(*watch->inodes)))
		return NULL;
	id = add_watch(watch, fd);
	if (id < 0)
		return NULL;
	inode = find_inode(watch, id);
	if (!inode) {
		inode = &watch->inodes[watch->n++];
		*inode = (struct watched_inode){ .id = id };
	}
	inode->n_users++;
	return inode;
}

static int64_t time_ns(struct timespec at)
{
	return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* The clock that inodes get their times from. */
static int64_t now_ns(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return time_ns(now);
}

void file_watch_begin(struct watched_file *file, struct file_watch *watch, int fd)
{
	struct watched_inode *inode;

	*file = (struct watched_file){ 0 };
	if (!watch || !file_system_of(fd)->is_local)
		return;
	pthread_mutex_lock(&watch->lock);
	inode = hold_inode(watch, fd);
	if (inode) {
		take_notes(watch);
		*file = (struct watched_file){ .watch = watch,
					       .id = inode->id,
					       .known = inode->notes,
					       .checked_ns = now_ns() };
	}
	pthread_mutex_unlock(&watch->lock);
}

void file_watch_end(struct watched_file *file)
{
	struct file_watch *watch = file->watch;
	struct watched_inode *inode;

	if (!watch)
		return;
	pthread_mutex_lock(&watch->lock);
	inode = find_inode(watch, file->id);
	if (inode && !--inode->n_users) {
		inotify_rm_watch(watch->fd, inode->id);
		*inode = watch->inodes[--watch->n];
	}
	pthread_mutex_unlock(&watch->lock);
	*file = (struct watched_file){ .changed = file->changed };
}

/* ---- what they say ---- */

enum verdict {
	SAME,
	TOUCHED,
	CHANGED,
	UNEXPLAINED
};

/* A program set this time: no write left it since the last look. */
static bool was_set(const struct watched_file *file, const struct stat *st)
{
	int64_t mtime_ns = time_ns(st->st_mtim), ctime_ns = time_ns(st->st_ctim);

	return mtime_ns < file->checked_ns || mtime_ns >= ctime_ns - SET_NOW_NS;
}

static enum verdict judge_notes(const struct watched_file *file, const struct stat *st,
				const struct file_notes *notes, uint64_t len, int64_t mtime_ns)
{
	if ((uint64_t)st->st_size != len || notes->n_writes != file->known.n_writes)
		return CHANGED;
	if (time_ns(st->st_mtim) == mtime_ns)
		return SAME;
	if (!file->watch || notes->n_doubts != file->known.n_doubts)
		return CHANGED;
	if (notes->n_touches == file->known.n_touches)
		return UNEXPLAINED;
	return was_set(file, st) ? TOUCHED : CHANGED;
}

/* Times and notes that belong together: nothing was done to the file while they were taken. */
static int look(const struct watched_file *file, int fd, struct stat *st, struct file_notes *notes)
{
	struct stat before = { 0 };
	int n_looks = 0;

	do {
		if (fstat(fd, &before))
			return -errno;
		*notes = file->watch ? notes_of(file) : file->known;
		if (fstat(fd, st))
			return -errno;
	} while (file->watch && time_ns(before.st_ctim) != time_ns(st->st_ctim) &&
		 ++n_looks < MAX_LOOKS);
	return 0;
}

/* False: the time was unexplained for long enough. */
static bool note_unsure(struct watched_file *file)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!file->unsure_ns)
		file->unsure_ns = time_ns(now);
	return time_ns(now) - file->unsure_ns < MAX_UNSURE_NS;
}

enum file_state file_watch_look(struct watched_file *file, int fd, uint64_t len, int64_t *mtime_ns)
{
	int64_t checked_ns = now_ns();
	struct file_notes notes;
	struct stat st = { 0 };
	enum verdict verdict;

	if (file->changed)
		return FILE_CHANGED;
	if (look(file, fd, &st, &notes))
		return FILE_SAME; /* its reads will fail, too */
	verdict = judge_notes(file, &st, &notes, len, *mtime_ns);
	if (verdict == UNEXPLAINED && note_unsure(file))
		return FILE_UNSURE;
	file->unsure_ns = 0;
	file->changed = verdict == CHANGED || verdict == UNEXPLAINED;
	if (file->changed)
		return FILE_CHANGED;
	*mtime_ns = time_ns(st.st_mtim);
	file->known = notes;
	file->checked_ns = checked_ns;
	return FILE_SAME;
}
