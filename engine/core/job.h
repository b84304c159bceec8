/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job has decided: its step, what was asked of it, and how it failed. What it copies, and
 * how far that is, is the copy walk's (copy/walk/walk.h).
 *
 * Only core/fault.c and the files of engine/job/ change it; other rooms call the functions in
 * core/fault.h.
 */
#ifndef BLOCKPULL_CORE_JOB_H
#define BLOCKPULL_CORE_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "engine/core/op.h"
#include "engine/core/rate/converge.h"
#include "engine/core/rate/pace.h"
#include "engine/core/rate/pace_guest.h"
#include "formats/core/layer.h"
#include "io/base.h"

struct file;

enum job_step {
	JOB_IDLE,       /* no job, or it is concluded */
	JOB_COPYING,    /* the cursor walks */
	JOB_COMMITTING, /* all copied: making it durable */
	JOB_PROVING,    /* walking the tables on disk again before the link goes */
	JOB_VERIFYING,  /* reading back what was copied */
	JOB_READY,      /* waits for finalize */
	JOB_DETACHING,  /* the link is being dropped */
	JOB_UNWINDING,  /* aborted or failed: runs drain, what was published is committed */
};

#define JOB_LEFT_PARTS 256

/* What the backing files hold of each part of the guest's disk, bytes (job/progress/left.c). */
struct job_left {
	bool is_counted;
	uint64_t part_len;
	uint64_t held[JOB_LEFT_PARTS];
};

#define JOB_LOOKS 16

/* How long that will take, from how fast it became less lately (job/progress/left.c). */
struct job_time_left {
	struct {
		uint64_t at_ns, bytes;
	} looks[JOB_LOOKS]; /* a ring */
	unsigned n_looks;
	uint64_t ns; /* 0: not known */
};

/* How it gives way to its guest (job/progress/give_way.c). */
struct job_give_way {
	uint64_t target_ns; /* 0: it does not by this */
	struct pace_guest guest;
	uint64_t looked_ns, done_bytes; /* of the last look */
	uint64_t p99_ns;                /* what it saw lately; 0: nothing */
	uint64_t forgot_ns;             /* when "lately" began anew */
};

/* How fast it is to go (job/progress/pace.c). */
struct job_pace {
	struct pace_wish wish;
	struct pace_watch watch;
	uint64_t needed;  /* bytes/s, as pace_needed_rate() */
	uint64_t next_ns; /* of the next look */
	struct job_give_way way;
};

/* A commit into a lower layer (job/chain/down.c). */
struct job_down {
	struct op grow;            /* waits until that layer is long enough */
	bool is_growing, is_grown; /* the guest is held until that is done */
	bool is_held;              /* the guest's requests wait for the end */
	bool is_quiet;             /* ... and none is in flight */
	bool is_told;              /* READY was sent */
	bool is_given_up;          /* the disk has another image */
	bool is_emptied;           /* the one that was the disk's reads all from that one */
	bool is_slowed;            /* what changes the guest's data waits until more is copied */
	bool has_retried;          /* unwinding: as struct job's, of that layer's commit */
	struct converge converge;  /* the looks at what a guest had written */
	struct {
		unsigned own, below;
	} n_settles;            /* commits at the end, of the disk's image and of that layer */
	struct file *old_files; /* of the image that was the disk's: its own first */
	enum image_format old_format;
};

/* How it failed, or what stops it (core/fault.c). */
struct job_fault {
	int error;
	enum bpull_remedy remedy; /* what the program may do about that error */
	bool was_io, was_read;    /* of that error */
	char message[1024];
	/* The message is of the mark (commit/mixed.c): events of any status carry it. */
	bool says_mixed;
	bool stopped; /* by an error; paused until the program resumes the job */
	struct {
		int error;
		uint64_t off;
		bool was_read;
	} stop; /* that error, and where; zeros while it is not stopped */
	/* What a base is read from is away: it was told, and not that it is back. Stopped by that,
	 * the job tries again at retry_ns (0: it does not, the program has paused it). */
	bool is_away;
	const struct file *away_file; /* the one that was told; NULL: not known which */
	uint64_t retry_ns;
};

struct job {
	enum job_step step;
	uint32_t flags;    /* enum bpull_job_flags */
	uint32_t on_error; /* enum bpull_on_error */
	bool paused, aborted;
	bool finalize;      /* asked for */
	unsigned n_gone_on; /* times that a stopped job was resumed */
	struct job_fault fault;
	uint64_t start_ns;
	uint64_t n_synced_before;       /* disk.commits.n_synced when it began */
	struct bpull_job_info counters; /* the owner's; job/progress/info.c tells of them */
	uint64_t commit_target;         /* the hard commit that the step waits for; 0: none yet */
	struct job_pace pace;
	struct job_left left;
	struct job_time_left time_left;
	struct job_down down;
	bool has_retried; /* unwinding: the commit that found no space had another try */
};

/* It is neither stopped nor paused, and is not to end. */
static inline bool job_goes_on(const struct job *job)
{
	return !job->fault.error && !job->aborted && !job->paused;
}

#endif
