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
struct job_kind;

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

/* How long the rest of the job will take, by how fast that rest became less lately
 * (job/progress/left.c). */
struct job_time_left {
	struct {
		uint64_t at_ns, bytes; /* what was left then */
	} looks[JOB_LOOKS];            /* a ring */
	unsigned n_looks;
	uint64_t ns; /* the answer; 0: not known */
};

/* How the job keeps its guest's requests fast (job/progress/give_way.c). */
struct job_give_way {
	uint64_t target_ns; /* the 99th percentile to keep; 0: none was asked for */
	struct pace_guest guest;
	uint64_t looked_ns, done_bytes; /* time of the last look; bytes that were done then */
	uint64_t p99_ns;                /* the 99th percentile lately; 0: not known */
	uint64_t forgot_ns;             /* when latency_forget() was called last */
};

/* How fast the job is to go (job/progress/pace.c). */
struct job_pace {
	struct pace_wish wish;
	struct pace_watch watch;
	uint64_t needed;  /* bytes/s: pace_needed_rate() at the last look */
	uint64_t next_ns; /* of the next look */
	struct job_give_way way;
};

/* A commit into a lower image (job/chain/down.c, pivot.c). The old image is the one that the disk
 * had before the pivot. */
struct job_down {
	struct op grow;            /* waits until the lower image is as long as the disk */
	bool is_growing, is_grown; /* the guest is held while the lower image grows */
	bool is_held;              /* the guest's requests wait for the end of the job */
	bool is_quiet;             /* is_held, and no request is in flight any more */
	bool is_told;              /* the READY event was sent */
	bool is_given_up;          /* the old image is: the lower one is the disk's image now */
	bool is_emptied;           /* the old image reads all from the lower one */
	bool is_slowed;            /* requests that change data wait until more is copied */
	bool has_retried;          /* as job.has_retried, for the lower image's commit */
	struct converge converge;  /* looks at what the guest has written */
	struct {
		unsigned own, below;
	} n_settles;            /* commits at the end: of the disk's image, and of the lower one */
	struct file *old_files; /* of the old image: its own file first */
	enum image_format old_format;
};

/* How the job failed, or what stops it (core/fault.c). */
struct job_fault {
	int error;                /* -errno; 0: the job has not failed */
	enum bpull_remedy remedy; /* what the program may do about `error` */
	bool was_io, was_read;    /* `error` is a request's and not -ENOMEM; of a read */
	char message[1024];
	/* The message is about the mark (commit/mixed.c): events of any status carry it. */
	bool says_mixed;
	bool stopped; /* by an error that the job survives; paused until the program resumes it */
	struct {
		int error;
		uint64_t off; /* byte of the file, or guest offset where no file is known */
		bool was_read;
	} stop; /* the error that stopped the job; zeros while it is not stopped */
	/* The program was told that a source is away, and not yet that it is back. A job that this
	 * stopped tries again at retry_ns (0: it does not, since the program has paused it). */
	bool is_away;
	const struct file *away_file; /* the source that is away; NULL: not known which */
	uint64_t retry_ns;
};

struct job {
	enum job_step step;
	const struct job_kind *kind; /* job/kinds.h; of an idle one: the last job's, or NULL */
	uint32_t flags;              /* enum bpull_job_flags */
	uint32_t on_error;           /* enum bpull_on_error */
	bool paused, aborted;
	bool finalize;      /* the program has asked for it */
	unsigned n_gone_on; /* how often the job was resumed after an error had stopped it */
	struct job_fault fault;
	uint64_t start_ns;
	uint64_t n_synced_before; /* disk_commits.n_synced when the job began */
	/* Owner's thread only; job/progress/info.c copies them to disk.control. */
	struct bpull_job_info counters;
	uint64_t commit_target; /* the hard commit that the step waits for; 0: none yet */
	struct job_pace pace;
	struct job_left left;
	struct job_time_left time_left;
	struct job_down down;
	bool has_retried; /* while unwinding: a commit that found no space was tried once more */
};

/* The job is neither paused nor stopped, has not failed and was not aborted. */
static inline bool job_goes_on(const struct job *job)
{
	return !job->fault.error && !job->aborted && !job->paused;
}

#endif
