/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One guest request: its state, and what its phases share. guest.c has the order of the phases and
 * what each of them holds.
 */
#ifndef BLOCKPULL_GUEST_REQUEST_H
#define BLOCKPULL_GUEST_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/guest/chain_read.h"
#include "formats/core/layer.h"
#include "formats/core/layer_shared.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/req.h"

struct bpull_disk;
struct bpull_engine;
struct bpull_event;
struct bpull_extent;
struct waiter;

/* Moves at most max events of guest requests to `out`; returns how many. */
int guest_take_events(struct bpull_engine *engine, struct bpull_event *out, int max);
/* Drops the disk's events that were not taken: it is being closed. */
void guest_forget_events(struct bpull_disk *disk);

enum guest_kind {
	GUEST_READ,
	GUEST_WRITE,
	GUEST_ZEROES,
	GUEST_DISCARD,
	GUEST_FLUSH,
	GUEST_STATUS,
	GUEST_GROW_DISK, /* grow.h; from LOCK to MAP it is handled as GUEST_ZEROES */
};

enum guest_phase {
	GUEST_BEGIN,   /* admitted; goes on by kind */
	GUEST_PREPARE, /* before the disk's first change: words in the header */
	GUEST_LOCK, /* the clusters, FIFO: shared with other writes, or alone to change entries */
	GUEST_MAP,  /* what is there: writes in place, or finds a range that needs new space */
	GUEST_UNSHARE,    /* gives the guest tables of its own */
	GUEST_PLACE,      /* reserves space for `fresh` */
	GUEST_FILL,       /* reads what of a piece the request does not cover */
	GUEST_STORE,      /* writes a piece */
	GUEST_PUBLISH,    /* makes the new entries */
	GUEST_CHAIN_READ, /* reads */
	GUEST_DESCRIBE,   /* block status */
	GUEST_SYNC,       /* flush, and FUA */
	GUEST_GROW,       /* a longer disk: enum grow_step */
	GUEST_GIVEN_UP,   /* failed: the file system has its reserved space back */
	GUEST_OVER,
};

/* A range of whole granules or clusters that gets new entries. Guest bytes. */
struct guest_new {
	uint64_t off, end;
	bool is_zero;                  /* the entries will be zero entries: no data is written */
	uint64_t host_off;             /* where the byte at `off` goes */
	uint64_t space_off, space_len; /* host bytes reserved and not published; len 0: none */
	uint64_t piece_off, piece_end; /* the piece in work */
	uint8_t *fill;                 /* head and tail of the piece, one behind the other */
	struct iovec fill_iov;         /* the part of `fill` that is being read */
	uint32_t head_len, tail_len;
	bool head_done, tail_done;
	/* The tables don't say of all of head and tail that they read as zeros. */
	bool fill_has_data;
};

#define GUEST_FEW_IOVS 2

/* A longer request that is done on the spot would hold up the engine's other ones while the kernel
 * copies its bytes. */
#define GUEST_NOW_LEN (128 * KiB)

struct guest {
	struct op op;
	struct layer *overlay; /* the disk's image; may be gone for a request that was refused */
	enum guest_kind kind;
	enum guest_phase phase;
	uint64_t guest_off, len; /* as asked */
	uint64_t at;             /* guest offset: what lies before is done */
	uint64_t began_ns;       /* when it was submitted; 0: it was refused then */
	uint32_t flags;          /* enum bpull_io_flags */
	void *user_data;
	struct iovec *iov;
	unsigned n_iov;
	struct {
		struct bpull_extent *extents; /* the caller's array */
		int max, n;
	} status;

	struct range_lock lock;
	bool locked; /* held or queued */
	bool alone;  /* takes its lock exclusively: it changes entries */
	struct table_need need;
	struct {
		struct io_req *reqs;
		struct iovec *iovs;
		unsigned n;
		/* Room for most: these need no memory of their own. */
		struct io_req one;
		struct iovec few[GUEST_FEW_IOVS];
		struct iovec asked[GUEST_FEW_IOVS]; /* for `iov` */
	} writes;                                   /* of the phase */
	struct chain_read chain_read;
	struct guest_new fresh;
	struct unshare unshare;
	int failed;           /* -errno with which the request ends, once it is in GIVEN_UP */
	uint64_t sync_target; /* number of the commit to wait for; 0: not chosen yet */

	/* The call or operation that waits for the request's end. Both NULL: it ends with an
	 * event. */
	struct {
		struct waiter *call; /* a blocking call */
		struct op *op;       /* the job's operation for which it was made (inner.h) */
	} waits;
	struct {
		uint64_t cost;      /* bytes of the guests' memory that it has; 0: none */
		struct guest *next; /* of the requests that wait for room, or that are held */
	} room;                     /* admit.c */
	struct {
		uint64_t seq; /* order of submission on its disk */
		struct guest *prev, *next;
	} list; /* the disk's requests in flight; later the engine's events to be taken */
};

static inline struct guest *guest_of(struct op *op)
{
	return (struct guest *)op;
}

/* The request changes the disk's data or its size. */
static inline bool guest_changes_disk(const struct guest *g)
{
	return g->kind == GUEST_WRITE || g->kind == GUEST_ZEROES || g->kind == GUEST_DISCARD ||
	       g->kind == GUEST_GROW_DISK;
}

/* Changes the phase. */
static inline enum step guest_go(struct guest *g, enum guest_phase phase)
{
	g->phase = phase;
	return STEP_NEXT;
}

/* Puts the request in error. */
enum step guest_error(struct guest *g, int error);
/* rc is a format's answer other than 0. Waits for the table (TABLE_NEED) or the next commit
 * (-EAGAIN) and lets the phase run again; any other rc puts the request in error. */
enum step guest_retry_later(struct guest *g, int rc);
/* Takes or queues the lock on the clusters of [off, off + len): shared unless g->alone. */
void guest_lock(struct guest *g, uint64_t off, uint64_t len);
void guest_unlock(struct guest *g);
/* Queues the request as an event; guest_take_events() frees it. */
void guest_queue_event(struct bpull_engine *engine, struct guest *g);
/* Appends the request to its disk's list and gives it its number. */
void guest_list_add(struct guest *g);
/* What the request writes to guest bytes [off, off + len), which it covers, as a vector. Returns
 * the number of entries; *out has room for guest_n_slices(). */
unsigned guest_iov_part(const struct guest *g, uint64_t off, uint64_t len, struct iovec *out);
unsigned guest_n_slices(const struct guest *g, uint64_t len);
/* Frees `writes`; no request of it is in flight. */
void guest_free_reqs(struct guest *g);

/* The request is over: counts it in the disk's statistics. */
void guest_count_end(const struct guest *g);
/* How many reads and writes are in flight that were submitted before that time. */
unsigned guest_n_older(const struct bpull_disk *disk, uint64_t ns);

/* Takes the request out of its disk's list. */
void guest_list_remove(struct guest *g);

#endif
