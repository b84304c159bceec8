/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A play: one disk in the simulated machine, a guest's requests, jobs after
 * jobs, public calls of every kind, and what others do to files that a job has
 * dropped. What happens is drawn from a seed; what must hold stands beside it
 * (play_request.c, play_job.c, play_cut.c). Which plays there are is test_model.c's.
 */
#ifndef BLOCKPULL_TESTS_PLAY_H
#define BLOCKPULL_TESTS_PLAY_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "formats/core/layer.h"
#include "formats/core/layer_shared.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_pull.h"

#define PLAY_MAX_CALLS  200000
#define PLAY_QEMU_EVERY 500
#define PLAY_FOUND      42 /* exit code: a planted bug was found */
#define PLAY_MAX_EARLY  4

/* Bugs put into the overlay's operations: the plays must find them (I5). */
enum planted {
	PLANTED_NONE,
	/* Space is counted free before the entries without it are durable. */
	PLANTED_EARLY,
	/* Space is used again while reads that began before may still meet it. */
	PLANTED_UNDRAINED,
};

/* What befalls bases that the program supplies: play_source.c. */
enum play_sources {
	PLAY_SOURCES = 1,        /* the lower files of the chain are such */
	PLAY_SOURCES_LEAVE = 2,  /* they are away for a time */
	PLAY_SOURCES_FAIL = 4,   /* they answer -EIO, or with wrong bytes */
	PLAY_SOURCES_CHANGE = 8, /* one is another one for good */
};

struct sim_sources;

struct play {
	uint64_t seed, state;
	struct sim_chain *chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct sim_guest guest;

	/* How it is played: the test's. */
	bool cuts;         /* look at what power cuts would leave */
	bool faults;       /* the machine fails now and then, and so may requests */
	bool space;        /* the disk is full now and then, and nothing else ever fails */
	bool base_changes; /* others write to a backing file while a job runs */
	bool late_events;  /* jobs start before the event of the last one's end was taken */
	bool shapes;       /* images at the borders of their formats: play_shapes.c */
	bool types;        /* jobs compress in one type or the other: play_types.c */
	bool grows;        /* the disk is made longer: play_grow.c */
	unsigned sources;  /* enum play_sources */
	bool has_first;    /* jobs are told what to copy first */
	enum planted planted;

	/* The jobs. Files of the chain are named by their index: 0 is the overlay, n_files none. */
	bool job_runs, is_ready, is_stopped, is_aborted;
	bool closed_with_job; /* which may be aborted, or win */
	bool ending;          /* whatever waits is told to go on */
	unsigned link;        /* the overlay's backing file, as the last event left it */
	unsigned target;      /* what it is to be after the job that runs */
	unsigned n_jobs;
	uint64_t last_cur;
	/* The oldest first: what the events of jobs that ended and were followed by others must
	 * say. */
	struct play_early {
		enum bpull_job_status status;
		int error;
	} early[PLAY_MAX_EARLY];
	unsigned n_early;
	bool base_changed; /* since the job began */
	bool base_ever_changed;
	enum job_step changed_in; /* the step in which it did */
	bool may_have_let_go;     /* the header was on its way when that happened */

	/* Of a disk that is made longer, else the chain's. */
	struct sim_chain own; /* with the length of the disk as it is */
	uint64_t opened_len;  /* guest bytes: as it was opened */
	uint64_t model_len;   /* the longest that it comes to */
	uint64_t grow_to;     /* asked for, and its event was not taken; 0: nothing is */
	uint64_t maybe_len;   /* the disk was given up on its way to it; or 0 */

	/* Of bases that the program supplies: all files from first_source on. */
	struct sim_sources *bases;
	unsigned first_source;
	/* What each had answered before the last round, the one before it, and when the job met
	 * that it was away. */
	uint64_t good_now[SIM_CHAIN_MAX_DEPTH], good_before[SIM_CHAIN_MAX_DEPTH],
		good_then[SIM_CHAIN_MAX_DEPTH];
	/* Bad ends of questions that the engine had met at its last round, and when a request was
	 * made: a load that has failed, or will when the last of its questions ends, meets the
	 * requests that come to it until then. */
	uint64_t n_bad_known, n_bad_at[SIM_GUEST_MAX];
	bool job_is_away, away_is_told;
	bool is_other, is_stale; /* one is another one; and that was told */
	bool waits;              /* the job waits to be told to go on */

	bool has_written;  /* the guest, something other than what was there */
	unsigned n_broken; /* faults that were ordered and not mended */
	bool given_up;     /* the disk was poisoned when it was closed */
	bool has_room;     /* nothing may fail any more */
	uint8_t *first;    /* what the model begins with, if not the chain's content */
	/* the overlay's, with a planted bug */
	struct layer_ops ops;
	struct layer_shared_ops shared_ops;
	uint64_t n_states;
};

/* What was met at least once, over all seeds. */
struct play_met {
	uint64_t requests[SIM_GUEST_N_KINDS], failed, poisoned, stopped, completed, canceled,
		guest_at_end, aborted_with_guest, later_jobs, dropped, ruined, asked, full_jobs,
		changed_bases, bitmaps_cleared, jumps, trace, aborted_stopped, closed_stopped,
		early, cut_bases, types, types_with_guest, types_refused, marked, grown, grown_far,
		grow_busy, grow_failed, grow_with_guest, grow_cuts, left, others, not_opened,
		stopped_away, resumed_away;
};
extern struct play_met play_met;

#define CHECK(p, condition, ...)                                                    \
	do {                                                                        \
		if (!(condition)) {                                                 \
			char text_[2400];                                           \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                \
			if ((p)->planted)                                           \
				_exit(PLAY_FOUND);                                  \
			cr_assert_fail("MODEL_SEED=%" PRIu64 ": %s: %s", (p)->seed, \
				       (p)->chain->text, text_);                    \
		}                                                                   \
	} while (0)

/* 0 to n - 1. */
uint64_t play_below(struct play *p, uint64_t n);
/* One play on the chain; *how has what the test says. Returns how many power cuts were looked
 * at. */
uint64_t play(struct sim_chain *chain, uint64_t seed, const struct play *how);
void play_take_events(struct play *p);
/* Until no request is in flight, nor a job where job_too. */
void play_run_until(struct play *p, bool job_too);
void play_submit_and_wait(struct play *p, const struct sim_guest_request *r);

/* play_request.c */
void play_submit(struct play *p, const struct sim_guest_request *r);
void play_start_request(struct play *p);
void play_end_request(struct play *p, const struct bpull_event *event);

/* play_hang.c: one play at a time is watched, from the first call to the second. */
void play_hang_watch(uint64_t seed);
void play_hang_end(void);

/* play_shapes.c */
void play_draw_shape(struct sim_chain *chain, uint64_t seed);

/* play_types.c */
void play_draw_types(struct sim_chain *chain, uint64_t seed);
/* enum bpull_compression, of the next job. */
unsigned play_draw_compression(struct play *p);
/* The type in the overlay's header; 0 in plays without types. */
unsigned play_type(const struct play *p);
/* A job was started; before: the type then. */
void play_note_type(struct play *p, unsigned before);
/* A job may be refused for it: something is compressed in the old type. */
bool play_refuses_type(struct play *p, const struct bpull_job_options *o,
		       const struct bpull_error *error);

/* play_grow.c */
void play_draw_grow(struct sim_chain *chain, uint64_t seed);
/* The play has a chain of its own, and p->first, of p->model_len bytes. */
void play_grow_begin(struct play *p, const struct sim_chain *chain);
void play_grow(struct play *p);
void play_end_grow(struct play *p, const struct bpull_event *event);
/* The image's length, of which there is the old one or the new one. */
uint64_t play_judge_len(struct play *p, const struct sim *sim, const char *when);
void play_grow_at_last(struct play *p);

/* play_source.c */
void play_sources_begin(struct play *p);
void play_sources_free(struct play *p);
void play_sources_give(const struct play *p, struct bpull_disk_options *o);
/* Now and then, while some are away. */
void play_sources_try_open(struct play *p, const struct bpull_disk_options *o);
bool play_is_source(const struct play *p, unsigned i);
/* As the chain has the file's name. */
const char *play_base_name(const struct play *p, unsigned i);
bool play_base_is_open(const struct play *p, unsigned i);
/* Questions that ended badly, so far: all, and those of reads that are over. */
uint64_t play_n_bad(const struct play *p);
uint64_t play_n_bad_over(const struct play *p);
void play_sources_act(struct play *p);
void play_sources_return(struct play *p);
void play_sources_be_right(struct play *p);
bool play_has_stale(const struct play *p);
void play_sources_stopped(struct play *p, const struct bpull_event *event);
void play_sources_resumed(struct play *p);
void play_sources_watch(struct play *p);
void play_sources_ended(struct play *p, enum bpull_job_status status);
bool play_sources_may_fail_job(const struct play *p, int error);
bool play_sources_may_fail(struct play *p, const struct sim_guest_request *r, int error);
bool play_sources_must_be_marked(const struct play *p);
void play_sources_judge_mark(struct play *p);
int play_sources_pull(const struct play *p, const struct sim_chain *chain, struct sim *sim,
		      struct sim_pull *pull);

/* play_job.c */
void play_steer_job(struct play *p);
void play_end_job(struct play *p, const struct bpull_event *event);
void play_watch_job(struct play *p);
/* Tells a job that waits to go on. */
void play_urge_job(struct play *p);
/* Its event may wait to be taken: then there is none to abort. */
void play_abort_job(struct play *p);
/* "none", or the file's name. */
const char *play_file(const struct play *p, unsigned i);

/* play_ask.c: one public call that asks or is refused; none changes what the job does. */
void play_ask(struct play *p);

/* play_world.c: what others do. */
/* The files [from, to) were dropped, and their owners use their space for something else. */
void play_ruin(struct play *p, unsigned from, unsigned to);
void play_change_base(struct play *p);
/* A job ended otherwise than COMPLETED, with this message: what was copied of a file that was
 * changed is marked. */
void play_judge_mark(struct play *p, const char *message);

/* play_fault.c */
void play_break(struct play *p);
void play_mend(struct play *p);
/* Closes the disk and looks at what is left. */
void play_judge_faults(struct play *p);
/* All that waits is told to go on, and the machine is mended. */
void play_use_the_room(struct play *p);

/* play_cut.c */
void play_cut_now(struct play *p);
/* Bitmaps say what the guest wrote since they were made: they hold no more once it has. */
void play_judge_bitmaps(struct play *p, struct sim *sim, bool has_written);
void play_judge_cut(struct play *p, const struct sim_cut *how);
/* What is left when all is closed; last: what the guest read at last. */
void play_judge_end(struct play *p, uint8_t *last);

#endif
