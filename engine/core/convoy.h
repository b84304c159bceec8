/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Convoys: jobs of an engine whose chains end in the same layer, and that advance together, so
 * that what one reads of the layers they share feeds the others (kept.h). No member is more than
 * a window ahead of the last.
 *
 * A convoy goes round: a job that joins while it is under way begins at its place and wraps.
 * A place is a lap and a guest offset.
 *
 * A member that the others have waited for too long is parted from them. When it comes on again it
 * rejoins at their place, and leaves its gap for when it comes round: a stall costs the gap, and
 * not the rest of the disk. What is kept of the gap stays kept for it as long as there is room.
 *
 * Pure: it decides by what it is told of each member. Owner's thread only.
 */
#ifndef BLOCKPULL_CORE_CONVOY_H
#define BLOCKPULL_CORE_CONVOY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/kept.h"
#include "io/base.h"

struct convoy;

struct convoy_place {
	uint64_t lap;
	uint64_t guest_off;
};

/* Zero-initialised it has joined nothing. */
struct convoy_member {
	struct convoy *convoy; /* NULL: the job goes alone */
	struct convoy_member *next;
	uint64_t len; /* guest bytes of its disk */
	/* The member's owner sets these before convoy_look(). */
	struct convoy_place place; /* all before it is done */
	bool is_held;              /* it could go on, but for the window */
	bool is_ready;             /* nothing of it is in flight: it wants a buffer, no more */
	bool awaits_source;        /* what it is at comes from a layer that is shared */
	struct {
		uint64_t mean_ns; /* what a run of it takes, lately; 0: none has ended */
		uint64_t last_ns; /* what the one took that ended last */
		unsigned n;       /* that have ended since it was parted */
	} runs;
	unsigned n_parted; /* how often it was too slow */
	/* It has passed over these places; a lap later it comes to them. from == to: none. */
	struct {
		struct convoy_place from, to;
	} gap;
};

struct convoy {
	uint64_t layer; /* number of the layer that all end in */
	uint64_t rate;  /* bytes/s that each of them may copy; 0: no limit of its own */
	struct convoy_member *members;
	unsigned n;
	bool is_parted;           /* of those that were parted from another: no job begins in it */
	struct convoy_place last; /* of the last member, as of the last look */
	struct {
		uint64_t since_ns; /* 0: the convoy does not wait */
		uint64_t len_ns;   /* it has waited, since its last member came on by a MiB */
		uint64_t step;     /* that member's MiB */
		uint64_t stuck_ns; /* since then it has not come on, and others wait */
	} wait;
	struct convoy *next;
};

/* Of an engine. Zero-initialised there are none, and the lengths are to be set. */
struct convoys {
	struct convoy *first;
	struct kept_set kept;
	/* Bytes that may be kept: so many, and so many for each member, as the more there are the
	 * further the last one is behind the first. */
	uint64_t max_len, member_len;
	uint64_t due_ns; /* when convoy_look() must be called again, at the latest */
};

/* The job's walk begins, or goes on after it has left: it joins the convoy of the layer whose
 * members are limited as it is, or makes one: a slower one would hold it. The convoy's place, or
 * the disk's first byte, is the member's: *begin. Without memory it goes alone; so it does where
 * the convoy is beyond the end of its disk. */
void convoy_join(struct convoys *convoys, struct convoy_member *member, uint64_t layer,
		 uint64_t rate, uint64_t disk_len, struct convoy_place *begin);
/* A member that was parted from others: it joins those which it is as fast as, and which come soon
 * by where it has something to do. next(opaque, guest_off) is the first byte from guest_off on, or
 * round the disk's end, that it has not done; UINT64_MAX: there is none. True: it has, and *begin
 * is its place, from which it goes on, and comes round to what it has left out. */
bool convoy_rejoin(struct convoys *convoys, struct convoy_member *member,
		   uint64_t (*next)(void *opaque, uint64_t guest_off), void *opaque,
		   struct convoy_place *begin);
/* Idempotent. */
void convoy_leave(struct convoys *convoys, struct convoy_member *member);
/* The others did not wait for it, or went too far. */
bool convoy_is_parted(const struct convoy_member *member);
/* It has company: what it reads is kept for others. */
bool convoy_is_shared(const struct convoy_member *member);
/* Others have read, or read, what it may need: also those that have left since. */
bool convoy_is_fed(const struct convoys *convoys, const struct convoy_member *member);
/* The member may begin a run at that place. */
bool convoy_lets_go(const struct convoys *convoys, const struct convoy_member *member,
		    const struct convoy_place *at);
/* The member whose run took so long. */
void convoy_note_run(struct convoy_member *member, uint64_t took_ns);
/* Once a round, when all members are up to date: finds the last one, parts from members for which
 * the others have waited too long, and drops what no member needs any more. has_room: a member
 * could go on at once, and no guest is at work. Returns when it must be called again; UINT64_MAX:
 * not by the clock. */
uint64_t convoy_look(struct convoys *convoys, uint64_t now_ns, bool has_room);

/* a is before b. */
static inline bool convoy_is_before(const struct convoy_place *a, const struct convoy_place *b)
{
	return a->lap < b->lap || (a->lap == b->lap && a->guest_off < b->guest_off);
}

#endif
