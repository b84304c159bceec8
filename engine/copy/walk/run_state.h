/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The state of one copy run, and what its phases share. run.c has its life and the order of the
 * phases. */
#ifndef BLOCKPULL_COPY_RUN_STATE_H
#define BLOCKPULL_COPY_RUN_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/run_parts.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "formats/core/layer.h"
#include "io/base.h"

struct io_req;

/* Guest offset of a run in flight. */
uint64_t copy_run_guest_off(const struct copy_run *run);

enum copy_run_phase {
	COPY_RUN_LOCK,     /* the clusters, exclusively, FIFO */
	COPY_RUN_MAP,      /* plan the run, or the next piece, under the lock */
	COPY_RUN_CHARGE,   /* wait for tokens */
	COPY_RUN_READ,     /* into the buffer; compressed input beside it */
	COPY_RUN_DECODE,   /* on the workers, into the buffer */
	COPY_RUN_SHARE,    /* keep for other jobs what was read; take what others have read */
	COPY_RUN_COMPRESS, /* on the workers, in place: jobs that compress only */
	COPY_RUN_WRITE,    /* find zeros, reserve, write */
	COPY_RUN_FILL,     /* large cluster: pieces of zeros that must be written */
	COPY_RUN_CLONE,    /* instead of CHARGE to WRITE: reserve, share blocks */
	COPY_RUN_CLONED,
	COPY_RUN_STORE, /* instead of WRITE and PUBLISH: requests of a lower image's node */
	COPY_RUN_STORED,
	COPY_RUN_PUBLISH,  /* in-memory tables; marks them dirty */
	COPY_RUN_GIVE_UP,  /* failed, or refused by the file system: its space goes back */
	COPY_RUN_GIVEN_UP, /* on the workers, to the file system; then to the format */
	COPY_RUN_OVER,
};

enum run_kind {
	RUN_COPY,
	RUN_ON_READ, /* a copy that follows a guest's read: not the job's */
	RUN_CLONE,   /* no copy: the source's blocks */
	RUN_ZERO,    /* no copy: entries that read zeros */
};

struct copy_run {
	struct op op;
	enum copy_run_phase phase;
	enum run_kind kind;
	struct layer *overlay;
	struct copy_walk *walk;
	uint64_t guest_off;
	uint64_t len; /* at most, until it is mapped; then the run's */
	struct {
		uint64_t end; /* guest byte: [guest_off, end) of the walk's work is this run's */
		bool is_done;
	} taken;
	uint32_t piece_len; /* the overlay's granule, or a piece of a large one */
	struct range_lock lock;
	bool locked; /* held or queued */
	struct run_time time;
	uint8_t *buf;        /* RUN_MAX_LEN bytes of the engine's pool; NULL: it needs none */
	struct io_req *reqs; /* reads, then writes */

	/* Each part is changed by the file of its name. */
	struct run_charge charge;
	struct run_read read;
	struct run_pieces pieces;
	struct run_space space;
	struct run_compress compress;
	struct run_digest digest;
	struct run_clone clone;
	struct run_give_up give_up;

	struct copy_counts counts;    /* what it adds to the walk's when it is published */
	struct copy_run *prev, *next; /* runs in flight: the job's, or those that follow reads */
	struct plan plan;             /* large, last */
};

/* The run is one granule, which passes through the buffer in pieces. */
static inline bool copy_run_in_pieces(const struct copy_run *p)
{
	return p->overlay->granule_len > p->piece_len;
}

/* It is of a job that copies into a lower image. */
static inline bool copy_run_goes_down(const struct copy_run *p)
{
	return p->walk->down.into && p->kind != RUN_ON_READ;
}

/* Lets its clusters go; LOCK takes them again. */
void copy_run_unlock(struct copy_run *p);
/* Frees requests, compressed input and decodes; none is in flight. */
void copy_run_free_requests(struct copy_run *p);

/* The run knows where it ends, and puts back what lies behind. The cursor may look for the next
 * one. */
void copy_run_mapped(struct copy_run *p);
/* The phase that follows when the run's bytes are in the buffer. */
enum copy_run_phase copy_run_after_read(const struct copy_run *p);

/* Zeros must be written or get an entry, since a backing file stays; without one, what has no entry
 * reads as zeros. Those that came from a source get one where the format has such: a guest's next
 * read would bring them again. */
bool copy_run_keeps_zeros(const struct copy_run *p);
/* These bytes of the run must be written. Pure; any thread. */
bool copy_run_is_data(const struct copy_run *p, const uint8_t *bytes, uint32_t len);
/* Guest bytes of [off, off + len) of the run: the last cluster may reach behind the guest's end. */
uint64_t copy_run_guest_bytes(const struct copy_run *p, uint64_t off, uint64_t len);
/* A reservation or a publication gave rc: waits for a table (TABLE_NEED, p->space.need) or for the
 * commit in flight (-EAGAIN), then the phase runs again; else puts the run in error. */
enum step copy_run_retry_later(struct copy_run *p, int rc);

/* Guest bytes that a run locks, whole clusters. */
uint64_t copy_run_lock_len(const struct copy_run *p);

/* The list that the run is in: the job's, or that of copies which follow reads. */
struct run_list *copy_run_runs_of(const struct copy_run *p);

/* The walk gets back what the run took and did not finish. */
void copy_run_put_back(struct copy_run *p, uint64_t from);

#endif
