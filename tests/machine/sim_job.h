/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job in the simulated machine that goes on by one completion at a time, so
 * that a test can catch it in each of its steps (enum job_step), do something to
 * it there, and see how it ends. Every end is judged when its event comes, from
 * the bytes in the store and from those that a power cut would leave: FAILED and
 * CANCELED have the link, COMPLETED has not, the content is what the model says.
 *
 * Taking whole calls of bpull_engine_process() was rejected: one of them runs
 * through most of a job's last steps.
 */
#ifndef BLOCKPULL_TESTS_SIM_JOB_H
#define BLOCKPULL_TESTS_SIM_JOB_H

#include <criterion/criterion.h>
#include <stdio.h>

#include "engine/core/disk.h"
#include "io/base.h"
#include "tests/machine/sim_guest.h"

/* How jobs are started in a test, and on what. */
struct sim_job_kind {
	struct sim_chain_how how;
	uint32_t flags; /* enum bpull_job_flags */
	bool with_guest;
};
/* A chain of three files at least: with a file to pull down to. */
void sim_job_draw(struct sim_chain *chain, const struct sim_job_kind *kind);

struct sim_job {
	/* Set before sim_job_open(). */
	uint64_t seed;
	const struct sim_chain *chain;
	bool with_guest;                  /* the disk has BPULL_DISK_GUEST_IO */
	struct bpull_job_options options; /* the size is filled in */
	char what[400];                   /* for messages */

	struct sim *sim;
	struct bpull_engine *engine;
	struct sim_guest guest; /* its disk is the job's: NULL once it is closed */
	uint64_t state;         /* of the numbers drawn */
	bool has_traffic;       /* random requests come */
	bool may_fail;          /* so may requests */
	unsigned n_failed;      /* requests */
	unsigned n_rounds;      /* since the last wait began */
	unsigned n_idle;        /* of them in a row, with nothing in flight */

	/* What its events said. */
	unsigned n_starts, n_ends, n_ready, n_stops;
	unsigned n_refused; /* requests on a disk that serves no guest */
	enum bpull_job_status status;
	int error;
	char message[1024];
	bool link_unknown; /* the message says so */
};

uint64_t sim_job_below(struct sim_job *j, uint64_t n);
void sim_job_open(struct sim_job *j);
/* 0, or what it was refused with. */
int sim_job_start(struct sim_job *j);
/* At most one request completes. */
void sim_job_round(struct sim_job *j);
/* The same, after a sleep that must end where nothing is in flight. False: the job is over. */
bool sim_job_step_once(struct sim_job *j);
/* Until it is in this step for the n-th round (0: the first). False: it went on, or ended. */
bool sim_job_run_to(struct sim_job *j, enum job_step step, unsigned n);
/* Until it stops, or ends. True: it was stopped. */
bool sim_job_run_to_stop(struct sim_job *j);
/* Until it has ended: READY is finalized. */
void sim_job_run(struct sim_job *j);
/* Until all of the guest's requests are over. */
void sim_job_run_guest(struct sim_job *j);
/* Until nothing is in flight any more. */
void sim_job_settle(struct sim_job *j);
bool sim_job_is_running(struct sim_job *j);
static inline enum job_step sim_job_step(const struct sim_job *j)
{
	return j->guest.disk->job.step;
}
/* The machine works again. */
void sim_job_mend(struct sim_job *j);
/* A request of the guest's; whether it succeeds is judged at its end. */
void sim_job_request(struct sim_job *j, enum sim_guest_kind kind);
/* A write, a flush and a read of all: none fails. */
void sim_job_use(struct sim_job *j);
/* The disk, or the engine with it; ends where it hangs. Requests in flight are over then. */
void sim_job_close_disk(struct sim_job *j);
void sim_job_close(struct sim_job *j);
/* Nothing fails any more: the guest uses the disk, and half of the time there is another job, which
 * completes. True: there was. */
bool sim_job_use_again(struct sim_job *j);
/* Closes it, and judges what is left: the link is gone where the image is alone, and only there. */
void sim_job_close_judged(struct sim_job *j, bool is_alone);
void sim_job_free(struct sim_job *j);

/* With what is needed to see it again. */
#define sim_job_assert(j, condition, ...)                                                 \
	do {                                                                              \
		if (!(condition)) {                                                       \
			char text_[1600];                                                 \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                      \
			cr_assert_fail("%s: %s: %s", (j)->what, (j)->chain->text, text_); \
		}                                                                         \
	} while (0)

#endif
