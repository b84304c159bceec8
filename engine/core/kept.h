/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What jobs have read of layers that other jobs of the engine read, too: bytes as the guest reads
 * them, kept until all jobs that need them have taken them. A range is in the set from the moment a
 * run is about to read it. A run that needs it meanwhile waits for that read, so no range is read
 * twice.
 *
 * The bytes are found by the layer's number and the guest's offset: a layer below an
 * overlay never changes while it is open, and a number is never given twice.
 *
 * Pure: no I/O. Owner's thread only.
 */
#ifndef BLOCKPULL_CORE_KEPT_H
#define BLOCKPULL_CORE_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

/* A kept range lies within one multiple of this, in guest bytes. */
#define KEPT_MAX_LEN (1 * MiB)

enum kept_state {
	KEPT_COMING, /* a run reads it */
	KEPT_HERE,   /* `bytes` are there */
	KEPT_LOST,   /* the read failed, is late, or lacked memory: each run reads for itself */
};

struct kept {
	uint64_t layer; /* its number */
	uint64_t guest_off;
	uint32_t len;
	enum kept_state state;
	uint8_t *bytes;
	uint64_t claimed_ns;    /* when its read began */
	unsigned n_holds;       /* runs that read it or will take it; it is not freed meanwhile */
	bool is_listed;         /* in a list of the set: a run may find it */
	struct op_list waiters; /* runs that wait until it is HERE or LOST */
	struct kept *next;
};

#define KEPT_N_LISTS 64

/* Zero-initialised it keeps nothing. */
struct kept_set {
	struct kept *lists[KEPT_N_LISTS];
	uint64_t len, max_len; /* bytes of all ranges, the coming ones included; their limit */
	unsigned n;            /* ranges that are listed, or held, or both */
};

/* The first range of the layer that meets [guest_off, end), which lies within one multiple of
 * KEPT_MAX_LEN; NULL: none. */
struct kept *kept_find(const struct kept_set *set, uint64_t layer, uint64_t guest_off,
		       uint64_t end);
/* The caller is about to read [guest_off, guest_off + len), which meets no range of the set. It
 * holds the range, which is COMING, and ends that by kept_fill() or kept_lose(). NULL: no room;
 * the caller reads for itself. */
struct kept *kept_claim(struct kept_set *set, uint64_t layer, uint64_t guest_off, uint32_t len,
			uint64_t now_ns);
/* The range was read: keeps a copy of the bytes, if another run may want them. Gives up the
 * caller's hold. */
void kept_fill(struct kept_set *set, struct kept *kept, const uint8_t *bytes);
/* The range was not read: it is LOST. Gives up the caller's hold. */
void kept_lose(struct kept_set *set, struct kept *kept);
/* Makes ranges LOST whose read began before before_ns and has not ended, so that no run waits for
 * them. Returns when the oldest read began that is still waited for; UINT64_MAX: there is none. */
uint64_t kept_lose_late(struct kept_set *set, uint64_t before_ns);

/* There is room for a range of len bytes. */
bool kept_has_room(const struct kept_set *set, uint64_t len);
/* Of the listed ranges for which is_it() says yes, the one that was claimed last; NULL: none. */
struct kept *kept_newest(const struct kept_set *set,
			 bool (*is_it)(void *opaque, const struct kept *kept), void *opaque);
void kept_hold(struct kept *kept);
void kept_release(struct kept_set *set, struct kept *kept);
/* No run finds it from now on; those that hold it still take it. */
void kept_drop(struct kept_set *set, struct kept *kept);

/* Drops all for which is_needed() says no. */
void kept_sweep(struct kept_set *set, bool (*is_needed)(void *opaque, const struct kept *kept),
		void *opaque);

#endif
