/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One request of the guest's: its state, and what its phases share. guest.c has its life and the
 * order of the phases.
 */
#ifndef BLOCKPULL_GUEST_REQUEST_H
#define BLOCKPULL_GUEST_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/core/op.h"
#include "engine/core/range_lock.h"
#include "engine/guest/chain_read.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"

struct bpull_disk;
struct bpull_engine;
struct bpull_event;
struct bpull_extent;
struct io_req;
struct waiter;

/* The disk's requests as the others see them. */
int guest_take_events(struct bpull_engine *engine, struct bpull_event *out, int max);
void guest_forget_events(struct bpull_disk *disk);
/* Layers were hidden: requests from now on don't use them. */
void guest_note_hidden(struct bpull_disk *disk);

enum guest_kind {
	GUEST_READ,
	GUEST_WRITE,
	GUEST_ZEROES,
	GUEST_DISCARD,
	GUEST_FLUSH,
	GUEST_STATUS,
};

enum guest_phase {
	GUEST_BEGIN,      /* not while layers of the chain are being closed */
	GUEST_PREPARE,    /* the disk's first write: takes untrue words in the header back */
	GUEST_LOCK,       /* the clusters, FIFO: with other writes, or alone to change entries */
	GUEST_MAP,        /* what is there: written in place at once, or one range of new space */
	GUEST_UNSHARE,    /* tables of the guest's own first */
	GUEST_PLACE,      /* new space for a range of units */
	GUEST_FILL,       /* what the request does not cover of them */
	GUEST_STORE,      /* write a piece of the range */
	GUEST_PUBLISH,    /* its new entries; then on to MAP */
	GUEST_CHAIN_READ, /* reads */
	GUEST_DESCRIBE,   /* block status */
	GUEST_SYNC,       /* flush, and FUA */
	GUEST_OVER,
};

/* A range of whole units that gets new entries. Guest bytes. */
struct guest_new {
	uint64_t off, end;
	bool is_zero;                  /* entries that read zeros: nothing is written */
	uint64_t host_off;             /* of `off` */
	uint64_t space_off, space_len; /* host bytes reserved and not published; len 0: none */
	uint64_t piece_off, piece_end; /* being written */
	uint8_t *fill; /* head and tail of the piece, which the request does not cover */
	uint32_t head_len, tail_len;
	bool head_done, tail_done;
	bool has_fill; /* of head or tail something was read, not only zeros known from tables */
};

struct guest {
	struct op op;
	enum guest_kind kind;
	enum guest_phase phase;
	uint64_t guest_off, len; /* as asked */
	uint64_t at;             /* guest byte up to which it is done */
	uint32_t flags;          /* enum bpull_io_flags */
	void *user_data;
	struct iovec *iov;
	unsigned n_iov;
	struct bpull_extent *extents; /* STATUS: the caller's */
	int max_extents, n_extents;

	struct range_lock lock;
	bool locked; /* held or queued */
	bool alone;  /* its lock is not shared: it changes entries */
	struct table_need need;
	struct io_req *reqs; /* of the phase: writes */
	struct iovec *req_iovs;
	unsigned n_reqs;
	struct chain_read gather;
	struct iovec fill_iov;
	struct guest_new fresh;
	struct unshare unshare;
	uint64_t sync_target; /* the commit that covers it; 0: not known yet */

	struct waiter *waiter; /* who waits for it in a blocking call; NULL: an event comes */
	uint64_t seq;          /* order of submission on its disk */
	uint64_t cost; /* bytes of the engine's memory that it has room for; 0: it waits for room */
	struct guest *next_held;
	struct guest *prev,
		*next; /* the disk's requests in flight; then the engine's list of events */
};

static inline struct guest *guest_of(struct op *op)
{
	return (struct guest *)op;
}

/* Changes the phase. */
static inline enum step guest_go(struct guest *g, enum guest_phase phase)
{
	g->phase = phase;
	return STEP_NEXT;
}

/* Puts the request in error. */
enum step guest_error(struct guest *g, int error);
/* A format's answer other than 0: waits for the table, or for the commit in flight; then the phase
 * runs again. */
enum step guest_retry_later(struct guest *g, int rc);
/* Shared unless g->alone. */
void guest_lock(struct guest *g, uint64_t off, uint64_t len);
void guest_unlock(struct guest *g);
/* Its event waits to be taken; of the request no more than that is used. */
void guest_queue_event(struct bpull_engine *engine, struct guest *g);
/* Puts it behind all others of its disk. */
void guest_list_add(struct guest *g);
/* Slices of what the request writes to guest bytes [off, off + len), which it covers. Returns how
 * many; room for guest_n_slices(). */
unsigned guest_slices(const struct guest *g, uint64_t off, uint64_t len, struct iovec *out);
unsigned guest_n_slices(const struct guest *g, uint64_t len);
void guest_free_reqs(struct guest *g);

/* Takes the request out of its disk's list. */
void guest_list_remove(struct guest *g);

#endif
