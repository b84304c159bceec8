/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How far a pull is: a bar on a terminal, lines in a log, JSON or percents for a program.
 */
#ifndef TOOLS_PULL_PROGRESS_H
#define TOOLS_PULL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/pull/percent.h"

enum progress_mode {
	PROGRESS_AUTO = 0, /* bar on a terminal, else plain */
	PROGRESS_BAR,
	PROGRESS_PLAIN,
	PROGRESS_JSON,
	PROGRESS_QEMU, /* percent.h */
	PROGRESS_NONE,
};

/* Smoothed bytes a second; negative: not known yet. */
struct progress_rate {
	double rate;
	uint64_t sampled;
};

struct progress {
	enum progress_mode mode; /* never AUTO after progress_open() */
	uint64_t bandwidth;      /* what was asked for, bytes/s; 0: no limit */
	uint64_t iops;           /* the same of requests/s */
	bool is_job_limit;       /* of one job, which may change them: its own are shown instead */
	unsigned n_images;       /* in all */

	int64_t next_ns; /* when something is due */
	bool drawn;      /* the cursor stands behind a bar */

	int64_t began_ns, sampled_ns; /* 0: no sample yet */
	struct progress_rate moved, worked, walked;
	struct percent percent; /* PROGRESS_QEMU */
};

/* The pulls that run, added up. */
struct progress_now {
	const char *name;         /* of the only one, or of the first */
	unsigned n_active;        /* how many run */
	unsigned n_done;          /* how many ended */
	uint64_t limit;           /* those that hold for each now, bytes/s */
	bool is_unlimited;        /* one of them has none */
	bool has_own_limits;      /* what all images share holds for none of them */
	uint64_t cur, end;        /* guest bytes */
	uint64_t moved;           /* bytes copied or cloned */
	uint64_t worked;          /* those, and zeros that were read */
	uint64_t walked;          /* of cur, what was not in the image before */
	uint64_t left;            /* at most so much is still to be read */
	uint64_t from_servers;    /* bytes that came from a network; 0 without has_servers */
	const char *server_state; /* the worst of all servers', or NULL: there is none */
	bool has_servers, servers_well;
	bool copying; /* something is left to copy and no stop was asked for */
};

/* Adds a running pull to the sums. */
void progress_add(struct progress_now *now, const struct bpull_job_info *info);

void progress_open(struct progress *progress, enum progress_mode mode, uint64_t bandwidth,
		   unsigned n_images);
/* Milliseconds until progress_due(), for poll(); -1: never. */
int progress_timeout_ms(const struct progress *progress);
bool progress_due(const struct progress *progress);
/* Takes `now` into the rates, twelve times a second at most. Called once when a pull begins, so
 * that the first thing shown has a rate; after that the calls below do it. */
void progress_sample(struct progress *progress, const struct progress_now *now);
/* Shows `now` as a bar or a line and arms the next time. JSON is progress_json()'s. */
void progress_show(struct progress *progress, const struct progress_now *now);
/* One line on stderr, whatever the mode: the answer to SIGUSR1. */
void progress_line(struct progress *progress, const struct progress_now *now);
/* One JSON line on stdout for one image; what is said of servers is `now`'s. */
void progress_json(const struct progress *progress, const char *name,
		   const struct bpull_job_info *info, const struct progress_now *now);
/* Removes the bar: call it before anything else is written to the terminal. */
void progress_clear(struct progress *progress);
/* After the last image. `done`: all of them were pulled. */
void progress_close(struct progress *progress, bool done);

#endif
