/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One to four disks over a tree of images that they share, each with a guest, in one simulated
 * machine, opened by one process or by several. Disks get snapshots and new heads, are pulled,
 * compacted, committed, made longer, closed and opened, in an order drawn from a seed, while other
 * processes hold what they need, processes are killed and the power is cut.
 *
 * What must hold of each image is known apart from the engine: of a head by its guest's model, of
 * every other image by what it held when it was last written to. A tree (heads_tree.c) says which
 * image reads from which, who may write where, and whose content a commit changes.
 */
#ifndef BLOCKPULL_TESTS_HEADS_H
#define BLOCKPULL_TESTS_HEADS_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/machine/sim_guest.h"
#include "tests/machine/files/sim_process.h"

#define HEADS_MAX       4
#define HEADS_IMAGES    200
#define HEADS_OLD_LINKS 8
#define HEADS_PROCESSES 3
#define HEADS_FOUND     42 /* exit code: a planted bug was found */
#define HEADS_NONE      UINT32_MAX

/* Bugs put in from outside: the plays must find them. */
enum heads_planted {
	HEADS_SOUND,
	HEADS_UNSYNCED,   /* a commit's target is flushed in words only (I11) */
	HEADS_UNLOCKED,   /* images that are only read are opened without a lock */
	HEADS_UNEMPTIED,  /* the image that was committed is not emptied */
	HEADS_LOST_ZEROS, /* of zeros and discards the first byte alone is committed */
};

struct heads_image {
	char name[24];
	enum image_format format;
	unsigned below; /* what its link leads to, as the last one to write it is sure of */
	/* What it led to before processes that were killed wrote it: a power cut may bring one of
	 * them back. */
	unsigned old_links[HEADS_OLD_LINKS], n_old_links;
	uint64_t len;       /* of its disk; 0: not known */
	uint8_t *held;      /* len bytes; NULL: a head's, or not known */
	char data[28];      /* its external data file, or "" */
	unsigned n_inner;   /* snapshots inside it */
	uint64_t inner_len; /* of their disks */
	uint8_t *inner;     /* what each of them holds; NULL: not known */
	uint8_t *mapped;    /* what it read when its bitmaps were right; or NULL */
	bool is_gone;
};

enum heads_job_kind {
	HEADS_PULL,    /* into the top, down to base */
	HEADS_COMPACT, /* into an image below the top, down to base */
	HEADS_COMMIT,  /* from `top` down into `base` */
};

struct heads_job {
	bool runs, is_stopped;
	enum heads_job_kind kind;
	unsigned top, base;    /* images; base HEADS_NONE: all that is below */
	unsigned linker, link; /* the image whose link is to lead to `link` at the end */
	bool keeps, is_aborted, manual;
};

struct heads_head {
	bool is_used;  /* else there is no such head, or what it holds is not known */
	bool died;     /* what it holds is to be looked at */
	bool is_loose; /* a power cut may bring back what it held before a kill */
	unsigned top;
	unsigned old_top; /* what was committed into the top, and reads as it does; or none */
	unsigned process;
	struct sim_guest guest; /* disk NULL: it is closed */
	uint8_t *first;
	uint64_t len, grow_to; /* grow_to 0: it does not grow */
	uint64_t other_len;    /* that a header may have, whose write failed */
	struct heads_job job;
	uint8_t value;
};

struct heads_how {
	bool crashes; /* kills and power cuts, after which all goes on */
	bool cuts;    /* look at what power cuts would leave */
	bool faults;  /* the machine fails now and then */
	bool room;    /* only room ends, and comes back */
	bool kinds;   /* images are of all kinds (heads_kinds.c) */
	enum heads_planted planted;
};

struct heads {
	uint64_t seed, state;
	struct heads_how how;
	struct sim_chain chain; /* of which the first images are */
	struct sim_processes machine;
	struct bpull_engine *engines[HEADS_PROCESSES]; /* NULL: it does not live */
	struct heads_image images[HEADS_IMAGES];
	unsigned n_images;
	struct heads_head heads[HEADS_MAX];
	uint64_t max_len; /* of each disk at any time */
	/* The n_trying images from `trying` on are a snapshot's whose call has not returned; or
	 * none. */
	unsigned trying, n_trying, trying_for;
	unsigned n_names;
	unsigned acting;   /* the process at work */
	bool was_hurt;     /* by a death or a failure: space may have leaked */
	bool was_workless; /* work for a worker may have failed */
	unsigned n_broken;
};

/* In all plays of this process. */
struct heads_met {
	unsigned snapshots, pulls, compactions, commits, active, resizes, born, kills, cuts, looks;
	unsigned busy, refused, failed, canceled, died_in_job, died_in_call, no_room, resumed;
	unsigned insisted, built;
};
extern struct heads_met heads_met;

uint64_t heads_below(struct heads *all, uint64_t n);
/* With HEADS_TRACE in the environment: what is done, line by line. */
void heads_say(const struct heads *all, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- heads_tree.c ---- */
unsigned heads_image_add(struct heads *all, const char *name, enum image_format format,
			 unsigned below, uint64_t len);
void heads_image_forget(struct heads *all, unsigned i);
/* `image` is `top`, or its links lead there. */
bool heads_reads(const struct heads *all, unsigned top, unsigned image);
/* A process that was killed has written the image's link, which led to below before. */
void heads_link_loosen(struct heads *all, unsigned image);
/* The machine is what a power cut left: the links are what they are. */
void heads_links_settle(struct heads *all);
/* The images from top down; how many. */
unsigned heads_chain(const struct heads *all, unsigned top, unsigned *out);
/* Whether another disk has an image open. A job that is at its end may have closed what the
 * tree has still. */
enum heads_use {
	HEADS_FREE,
	HEADS_MAYBE_USED,
	HEADS_USED,
};
/* An open disk but `but` reads from this image. */
enum heads_use heads_use_of(const struct heads *all, unsigned image, const struct heads_head *but);
/* A job of another disk may have this image open for writing, below its top. */
bool heads_is_written_elsewhere(const struct heads *all, unsigned image,
				const struct heads_head *but);
/* What the header of an image names, found without formats/. */
unsigned heads_link_of(const struct heads *all, const struct sim *sim, unsigned image);
uint64_t heads_len_of(const struct heads *all, const struct sim *sim, unsigned image);
/* Each file is locked as the open disks need it, and no other. No job runs. */
void heads_judge_locks(struct heads *all);
/* Images that no disk needs go, so that there is room for new ones. */
void heads_prune(struct heads *all);

/* ---- heads_live.c ---- */
void heads_open(struct heads *all, struct heads_head *h);
void heads_close(struct heads *all, struct heads_head *h);
/* Closes the engines of processes in which no disk is open: where the only open failed. */
void heads_end_idle(struct heads *all);
/* At most a few events of this process. */
void heads_process(struct heads *all, unsigned process);
/* Nothing is on its way there: the clock goes on to what its engine has set its timer to. */
void heads_pass_time(struct heads *all, unsigned process);
/* Jobs that are over have told so: the tree is what the disks have. */
void heads_hear_of_ends(struct heads *all);
/* Until no request of this head is in flight, and no job runs where job_too. False: the machine has
 * stopped. */
bool heads_run(struct heads *all, struct heads_head *h, bool job_too);
void heads_request(struct heads *all, struct heads_head *h);
/* A process dies, or the whole machine: at once. Then all that is left is judged. */
void heads_kill(struct heads *all, unsigned process);
void heads_cut(struct heads *all);
/* The model begins anew, with all its versions. */
void heads_begin_again(struct heads *all, struct heads_head *h);

/* ---- heads_change.c ---- */
void heads_snapshot(struct heads *all, struct heads_head *h);
void heads_resize(struct heads *all, struct heads_head *h);
void heads_take_resized(struct heads *all, struct heads_head *h, const struct bpull_event *event);
/* A new head over an image that no disk writes to. */
void heads_be_born(struct heads *all, struct heads_head *h);

/* It is closed, and there is no such head any more. */
void heads_end(struct heads_head *h);
/* The same, and its image is one that no disk writes to. */
void heads_retire(struct heads *all, struct heads_head *h);

/* ---- heads_job.c ---- */
void heads_start_job(struct heads *all, struct heads_head *h);
void heads_steer_job(struct heads *all, struct heads_head *h);
void heads_take_job_event(struct heads *all, struct heads_head *h, const struct bpull_event *event);
/* It may have written to what it was to write to, and is over without its end being told. */
void heads_job_died(struct heads *all, struct heads_head *h, const struct sim *sim);

/* ---- heads_judge.c ---- */
/* Every image of `left`. */
enum heads_death {
	HEADS_ALIVE,  /* it is only looked at */
	HEADS_KILLED, /* disks that died go on with what is there */
	HEADS_CUT,    /* the same, and nothing else is left of them */
};
void heads_judge(struct heads *all, const struct sim *left, const char *when,
		 enum heads_death death);
void heads_look_at_cut(struct heads *all);
/* Reads a whole image by itself. False: see *v. out: all->max_len bytes. */
bool heads_read_image(const struct heads *all, struct sim *sim, unsigned image, uint8_t *out,
		      struct sim_verdict *v);

/* ---- heads_kinds.c ---- */
void heads_kinds_chain(const struct heads *all, struct sim_chain_how *how);
/* Image i is one of the first chain's top. */
void heads_kinds_top(struct heads *all, unsigned i);
/* Makes image i, which reads these bytes. False: bpull_create() shall. */
bool heads_kinds_make(struct heads *all, unsigned i, const uint8_t *reads);
void heads_kinds_create(struct heads *all, struct bpull_create_options *o);
/* reads: what image i reads now, all->max_len bytes. */
void heads_kinds_judge(struct heads *all, unsigned i, struct sim *left, const char *when,
		       const uint8_t *reads);

/* ---- heads_plant.c ---- */
void heads_plant_locks(struct heads *all);
void heads_plant_job(struct heads *all, const struct heads_head *h);
bool heads_plant_keep(const struct heads *all, const struct heads_head *h,
		      const struct heads_job *job);

/* ---- the play ---- */
void heads_play(uint64_t seed, const struct heads_how *how);

/* With what is needed to see it again. */
#define heads_assert(all, condition, ...)                                             \
	do {                                                                          \
		if (!(condition)) {                                                   \
			char text_[2400];                                             \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                  \
			if ((all)->how.planted)                                       \
				_exit(HEADS_FOUND);                                   \
			cr_assert_fail("HEADS_SEED=%" PRIu64 ": %s: %s", (all)->seed, \
				       (all)->chain.text, text_);                     \
		}                                                                     \
	} while (0)

#endif
