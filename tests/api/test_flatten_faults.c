/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flattening while the n-th call of each kind fails, for every n, once or for
 * ever, and the program aborts, pauses, closes or goes on at that moment, in
 * whatever state the job is then: opening, copying, committing, detaching, or
 * giving the new file its name. Whatever comes of it: the job ends once, the
 * wanted name is there when COMPLETED says so and holds what the source does,
 * and in every other case no file is left beside the source. None of these calls
 * is made inside bpull_engine_process().
 *
 * test_flatten_sim.c does that in the simulated machine. Here the calls are the C
 * library's, wrapped, on real files; the backend of threads, as a ring makes none.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "io/base.h"
#include "tests/support/files/pattern.h"
#include "tests/support/files/scratch.h"

#define LEN       (160u << 10)
#define MAX_NTH   200
#define MAX_SLEEP 20000 /* ms */

/* ---- the calls ---- */

enum call {
	CALL_PWRITE,
	CALL_PWRITEV,
	CALL_FDATASYNC,
	CALL_FSYNC,
	CALL_FTRUNCATE,
	CALL_RENAME,
	CALL_LINK,
	N_CALLS
};

static const char *const call_names[N_CALLS] = { "pwrite",    "pwritev",   "fdatasync", "fsync",
						 "ftruncate", "renameat2", "linkat" };

static struct {
	atomic_int call, nth, error, n_hits; /* nth 0: none fails */
	atomic_bool forever;
} fault;

/* This thread is inside bpull_engine_process(), which must make none of these calls: every guest of
 * the engine would wait for it. */
static _Thread_local bool in_round;
static atomic_uint n_in_rounds;

static bool fails(enum call call)
{
	int left;

	if (in_round)
		atomic_fetch_add(&n_in_rounds, 1);
	if (atomic_load(&fault.call) != (int)call || atomic_load(&fault.nth) <= 0)
		return false;
	left = atomic_fetch_sub(&fault.nth, 1);
	if (left != 1)
		return false;
	if (atomic_load(&fault.forever))
		atomic_store(&fault.nth, 1);
	atomic_fetch_add(&fault.n_hits, 1);
	errno = atomic_load(&fault.error);
	return true;
}

#define WRAP(call, type, name, parameters, ...)    \
	type __real_##name parameters;             \
	type __wrap_##name parameters;             \
	type __wrap_##name parameters              \
	{                                          \
		if (fails(call))                   \
			return -1;                 \
		return __real_##name(__VA_ARGS__); \
	}

WRAP(CALL_PWRITE, ssize_t, pwrite64, (int fd, const void *buf, size_t n, off_t off), fd, buf, n,
     off)
WRAP(CALL_PWRITEV, ssize_t, pwritev64, (int fd, const struct iovec *iov, int n, off_t off), fd, iov,
     n, off)
WRAP(CALL_PWRITEV, ssize_t, pwritev64v2,
     (int fd, const struct iovec *iov, int n, off_t off, int flags), fd, iov, n, off, flags)
WRAP(CALL_FDATASYNC, int, fdatasync, (int fd), fd)
WRAP(CALL_FSYNC, int, fsync, (int fd), fd)
WRAP(CALL_FTRUNCATE, int, ftruncate64, (int fd, off_t len), fd, len)
WRAP(CALL_RENAME, int, renameat2,
     (int from_dir, const char *from, int to_dir, const char *to, unsigned flags), from_dir, from,
     to_dir, to, flags)
WRAP(CALL_LINK, int, linkat,
     (int from_dir, const char *from, int to_dir, const char *to, int flags), from_dir, from,
     to_dir, to, flags)

static int process(struct bpull_engine *engine, struct bpull_event *events, int max)
{
	int n;

	in_round = true;
	n = bpull_engine_process(engine, events, max);
	in_round = false;
	return n;
}

/* ---- a trial ---- */

enum action {
	NOTHING,
	ABORT,
	PAUSE,
	CLOSE,
	N_ACTIONS
};

struct trial {
	enum call call;
	int nth, error;
	bool forever;
	enum action action;
	enum bpull_format format;
	uint32_t on_error, flags;

	struct bpull_engine *engine;
	struct bpull_disk *disk;
	bool is_done; /* the action */
	bool is_over;
	enum bpull_job_status status;
};

static struct {
	unsigned completed, failed, canceled, closed, refused, stopped;
} met;

static uint8_t bytes[LEN];

#define ASSERT(t, condition, ...)                                                             \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			char text_[700];                                                      \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                          \
			cr_assert_fail("%s number %d: %s%s, action %d, format %d, on_error "  \
				       "%u: %s",                                              \
				       call_names[(t)->call], (t)->nth, strerror((t)->error), \
				       (t)->forever ? " for ever" : "", (int)(t)->action,     \
				       (int)(t)->format, (unsigned)(t)->on_error, text_);     \
		}                                                                             \
	} while (0)

static void set_up(void)
{
	scratch_make();
	pattern_steps(bytes, LEN);
	memset(bytes + (64u << 10), 0, 32u << 10);
	scratch_file("source", bytes, LEN);
}

TestSuite(flatten_faults, .init = set_up, .fini = scratch_remove, .timeout = 300);

static void mend(void)
{
	atomic_store(&fault.nth, 0);
}

static int open_new(struct bpull_engine *engine, const char *source, enum bpull_format format,
		    const char *out, enum bpull_format out_format, struct bpull_disk **disk)
{
	struct bpull_disk_options from = { .size = sizeof(from), .format = format };
	struct bpull_create_options to = { .size = sizeof(to), .format = out_format };

	return bpull_flatten_open(engine, scratch(source), &from, scratch(out), &to, disk, NULL);
}

/* ---- what is left ---- */

static void judge_bytes(struct trial *t, const char *name)
{
	static uint8_t got[LEN + 1];
	int fd = open(scratch(name), O_RDONLY);

	ASSERT(t, pread(fd, got, sizeof(got), 0) == LEN && !memcmp(got, bytes, LEN),
	       "the new image is not what the source is");
	close(fd);
}

/* Back into a raw file, by a machine that works. */
static void judge_image(struct trial *t)
{
	struct bpull_event event;
	struct bpull_disk *disk;
	int rc = open_new(t->engine, "out", t->format, "back", BPULL_FORMAT_RAW, &disk);

	ASSERT(t, !rc && !bpull_job_start(disk, NULL, NULL), "the new image does not open");
	ASSERT(t,
	       bpull_engine_wait(t->engine, &event, 1, MAX_SLEEP) == 1 &&
		       event.status == BPULL_JOB_COMPLETED,
	       "the new image can't be read: %s", event.message);
	bpull_disk_close(disk);
	judge_bytes(t, "back");
	unlink(scratch("back"));
}

static void judge_files(struct trial *t)
{
	bool is_there = !access(scratch("out"), F_OK);
	bool done = t->is_over && t->status == BPULL_JOB_COMPLETED;

	/* One that was closed may have won. */
	ASSERT(t, is_there == done || (is_there && !t->is_over), "the new file is %s",
	       is_there ? "there" : "not there");
	ASSERT(t, scratch_n_files() == 1u + is_there, "%u files are left", scratch_n_files());
	if (is_there)
		judge_image(t);
	unlink(scratch("out"));
}

/* A barrier that failed says that what was written may not be there. */
static bool must_fail(const struct trial *t)
{
	return atomic_load(&fault.n_hits) && t->action == NOTHING &&
	       (t->call == CALL_FDATASYNC || t->call == CALL_FSYNC);
}

/* ---- while it runs ---- */

static void act(struct trial *t)
{
	t->is_done = true;
	switch (t->action) {
	case ABORT: bpull_job_abort(t->disk); break;
	case PAUSE:
		bpull_job_pause(t->disk);
		process(t->engine, NULL, 0);
		bpull_job_resume(t->disk);
		break;
	case CLOSE:
		bpull_disk_close(t->disk);
		t->disk = NULL;
		met.closed++;
		break;
	case NOTHING:
	case N_ACTIONS: break;
	}
}

static void take(struct trial *t, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_JOB_STOPPED) {
		met.stopped++;
		ASSERT(t, event->message[0], "it does not say why it stopped");
		mend();
		if (t->action == NOTHING)
			bpull_job_resume(t->disk);
		else
			act(t);
		if (t->disk && t->action == PAUSE)
			bpull_job_resume(t->disk);
		return;
	}
	if (event->status == BPULL_JOB_READY) {
		if (!t->is_done)
			act(t);
		if (t->disk)
			bpull_job_finalize(t->disk);
		return;
	}
	t->is_over = true;
	t->status = event->status;
	met.completed += event->status == BPULL_JOB_COMPLETED;
	met.failed += event->status == BPULL_JOB_FAILED;
	met.canceled += event->status == BPULL_JOB_CANCELED;
	ASSERT(t, event->status != BPULL_JOB_COMPLETED || !must_fail(t),
	       "COMPLETED, and what was written may not be there");
	ASSERT(t, event->status != BPULL_JOB_FAILED || (event->error && event->message[0]),
	       "it does not say why it failed");
	ASSERT(t, event->status == BPULL_JOB_COMPLETED || scratch_n_files() == 1, "a file is left");
	ASSERT(t, event->status != BPULL_JOB_CANCELED || t->action == ABORT, "it was not aborted");
}

static void run(struct trial *t)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .on_error = t->on_error,
				       .flags = t->flags };

	if (bpull_job_start(t->disk, &o, NULL)) {
		met.refused++;
		return;
	}
	while (t->disk && !t->is_over) {
		struct pollfd ready = { .fd = bpull_engine_fd(t->engine), .events = POLLIN };
		struct bpull_event event;

		if (process(t->engine, &event, 1) == 1)
			take(t, &event);
		else if (atomic_load(&fault.n_hits) && !t->is_done)
			act(t);
		else
			ASSERT(t, poll(&ready, 1, MAX_SLEEP) == 1, "nothing happens");
	}
	ASSERT(t, !atomic_load(&n_in_rounds), "a round of the engine waits for a file");
	if (t->disk)
		ASSERT(t, bpull_job_start(t->disk, NULL, NULL), "it could be started again");
}

/* False: there are fewer such calls. */
static bool try_one(struct trial *t)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = BPULL_IO_THREADS };

	cr_assert_eq(bpull_engine_open(&eo, &t->engine, NULL), 0);
	atomic_store(&fault.n_hits, 0);
	atomic_store(&fault.call, (int)t->call);
	atomic_store(&fault.error, t->error);
	atomic_store(&fault.forever, t->forever);
	atomic_store(&fault.nth, t->nth);
	if (open_new(t->engine, "source", BPULL_FORMAT_RAW, "out", t->format, &t->disk)) {
		met.refused++;
	} else {
		run(t);
		if (t->disk)
			bpull_disk_close(t->disk);
	}
	mend();
	judge_files(t);
	bpull_engine_close(t->engine);
	return atomic_load(&fault.n_hits);
}

static void try_all(enum call call, enum action action, int error, bool forever, unsigned i)
{
	static const enum bpull_format formats[] = { BPULL_FORMAT_QCOW2, BPULL_FORMAT_RAW,
						     BPULL_FORMAT_QED };

	for (int nth = 1;; nth++) {
		struct trial t = { .call = call,
				   .nth = nth,
				   .error = error,
				   .forever = forever,
				   .action = action,
				   .format = formats[i % ARRAY_LEN(formats)],
				   .on_error =
					   i / 3 % 2 ? BPULL_ON_ERROR_STOP : BPULL_ON_ERROR_REPORT,
				   .flags = i / 6 % 3 ? 0 : BPULL_JOB_MANUAL_FINALIZE };

		ASSERT(&t, nth < MAX_NTH, "there is no end of such calls");
		if (!try_one(&t))
			return;
	}
}

Test(flatten_faults, no_failed_call_leaves_a_file_beside_the_source)
{
	static const int errors[] = { EIO, ENOSPC };
	unsigned i = 0;

	for (enum call call = 0; call < N_CALLS; call++)
		for (enum action action = 0; action < N_ACTIONS; action++)
			for (unsigned e = 0; e < ARRAY_LEN(errors); e++)
				for (unsigned k = 0; k < 2; k++)
					try_all(call, action, errors[e], k, i++);
	fprintf(stderr, "%u completed, %u failed, %u canceled, %u closed, %u refused, %u stopped\n",
		met.completed, met.failed, met.canceled, met.closed, met.refused, met.stopped);
	cr_assert_gt(met.failed, 100);
	cr_assert_gt(met.canceled, 5);
	cr_assert_gt(met.closed, 20);
	cr_assert_gt(met.stopped, 10);
}
