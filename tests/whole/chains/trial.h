/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What sessions on a disk in the simulated machine have in common: an engine on it, a guest, a job,
 * and what may fail. A session's own struct begins with it; each event is judged when it comes.
 */
#ifndef BLOCKPULL_TESTS_TRIAL_H
#define BLOCKPULL_TESTS_TRIAL_H

#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_pull.h"

struct trial {
	/* Set before the session begins. */
	struct sim *sim; /* with the chain's files */
	bool may_fail;   /* the machine does, so calls, requests and the job may */
	/* Around what the test allocates itself, for tests of allocations; NULL: none. */
	void (*pause)(void), (*resume)(void);
	struct io *(*wrap_io)(struct io *io);
	struct file_opener *(*wrap_opener)(struct file_opener *opener);
	bool forever; /* nothing of a request's own can be allocated: it would wait for ever */
	char what[160];
	void (*look)(struct trial *t); /* while the job runs, before each round; or NULL */
	void *look_arg;

	struct bpull_engine *engine;
	struct sim_guest guest;
	uint8_t value; /* of the last write */
	unsigned n_failed;
	bool job_runs, completed;
	/* Of the job's end. */
	int end_error;
	char end_message[1024];
	struct bpull_job_info end_info;
};

void trial_pause(const struct trial *t);
void trial_resume(const struct trial *t);
/* An engine and, on it, the disk. 0, or why there is none. */
int trial_open(struct trial *t, const char *name, const struct bpull_disk_options *options);
/* A round: what bpull_engine_process() answers. */
int trial_process(struct trial *t, struct bpull_event *event);
/* The next event. The test fails where none comes. */
void trial_next(struct trial *t, struct bpull_event *event);
/* The event of a guest's request, and that of the job's end. */
void trial_end_request(struct trial *t, const struct bpull_event *event);
void trial_end_job(struct trial *t, const struct bpull_event *event);
/* The guest asks; a read's bytes go to `out`, or NULL. */
void trial_request(struct trial *t, enum sim_guest_kind kind, uint64_t off, uint64_t len,
		   uint8_t *out);
void trial_start_job(struct trial *t, const struct bpull_job_options *options);

#endif
