/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Convoys: jobs of an engine whose chains end in the same layer, and that advance together, so
 * that what one reads of the layers they share feeds the others (kept.h). The last members are
 * those that are furthest behind; no member is more than a window ahead of them.
 *
 * A convoy goes round: a job that joins while the convoy is under way begins at the convoy's
 * place, and goes on from the disk's first byte when it has come to the end. A place is a lap and
 * a guest offset.
 *
 * A member that the others have waited for too long is parted from them. When it advances again it
 * rejoins at their place, and leaves what it passes over, its gap, for when it comes round: a
 * stall costs the gap, and not the rest of the disk. What is kept of the gap stays kept for the
 * member as long as there is room.
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
	/* The job sets these before convoy_look(). */
	struct convoy_place place; /* all before it is done */
	bool is_held;              /* only the window keeps it from going on */
	bool is_ready;             /* it has no run in flight, and lacks nothing but a buffer */
	bool awaits_source;        /* its oldest run waits for a read of a shared layer */
	struct {
		uint64_t mean_ns; /* how long its runs take lately; 0: none has ended */
		uint64_t last_ns; /* how long the run took that ended last */
		unsigned n;       /* runs that have ended since it was parted */
	} runs;
	unsigned n_parted; /* how often it was parted since it was too slow */
	/* The member has passed over these places, and comes to them a lap later. from == to:
	 * none. */
	struct {
		struct convoy_place from, to;
	} gap;
};

struct convoy {
	uint64_t layer; /* number of the layer that all members' chains end in */
	uint64_t rate;  /* bytes/s that each member's job may copy; 0: no limit of its own */
	struct convoy_member *members;
	unsigned n;
	bool is_parted;           /* its members were parted from another convoy: no job joins it */
	struct convoy_place last; /* the place of the last member, as of the latest look */
	/* Waiting for the last member. */
	struct {
		uint64_t since_ns; /* when the wait began; 0: the convoy does not wait */
		uint64_t len_ns;   /* how long it has waited since that member advanced by a MiB */
		uint64_t step;     /* the MiB of its place in which that member is */
		uint64_t stuck_ns; /* when it advanced last, or when others began to wait */
	} wait;
	struct convoy *next;
};

/* An engine's convoys. Zero-initialised there are none; the caller sets max_len and member_len. */
struct convoys {
	struct convoy *first;
	struct kept_set kept;
	/* Bytes that may be kept: max_len, and member_len for each member, since the more members
	 * there are the further the last one is behind the first. */
	uint64_t max_len, member_len;
	uint64_t due_ns; /* when convoy_look() must be called again, at the latest */
};

/* The job's walk begins, or goes on after the job had left. The member joins the convoy of that
 * layer whose members have the same limit, or gets a new one: members with a lower limit would hold
 * it back. *begin: where it begins: the convoy's place, or the disk's first byte. Without memory,
 * and where the convoy is beyond the end of the member's disk, it goes alone. */
void convoy_join(struct convoys *convoys, struct convoy_member *member, uint64_t layer,
		 uint64_t rate, uint64_t disk_len, struct convoy_place *begin);
/* Lets a member that was parted join a convoy that is as fast as it is, and that soon comes by
 * something which it has still to do. next(opaque, guest_off) is the first byte from guest_off on,
 * wrapping at the disk's end, that the member has not done; UINT64_MAX: there is none. True: it has
 * joined, and goes on from *begin. It comes round later to what it passed over. */
bool convoy_rejoin(struct convoys *convoys, struct convoy_member *member,
		   uint64_t (*next)(void *opaque, uint64_t guest_off), void *opaque,
		   struct convoy_place *begin);
/* Idempotent. */
void convoy_leave(struct convoys *convoys, struct convoy_member *member);
/* The member was parted: the others did not wait for it, or it was too far ahead to feed them. */
bool convoy_is_parted(const struct convoy_member *member);
/* The member has company: what it reads is kept for others. */
bool convoy_is_shared(const struct convoy_member *member);
/* Something that the member may need is kept, or may be: by its company, or by jobs that have left
 * since. */
bool convoy_is_fed(const struct convoys *convoys, const struct convoy_member *member);
/* The window lets the member begin a run at that place. */
bool convoy_lets_go(const struct convoys *convoys, const struct convoy_member *member,
		    const struct convoy_place *at);
/* A run of the member has ended, after took_ns. */
void convoy_note_run(struct convoy_member *member, uint64_t took_ns);
/* Once a round, when all members are up to date: finds the last one, parts members for which the
 * others have waited too long, and drops what no member needs any more. has_room: a buffer is free,
 * and no guest is at work: only then a wait is the last member's fault. Returns when it must be
 * called again, in ns; UINT64_MAX: no time calls for it. */
uint64_t convoy_look(struct convoys *convoys, uint64_t now_ns, bool has_room);

/* a is before b. */
static inline bool convoy_is_before(const struct convoy_place *a, const struct convoy_place *b)
{
	return a->lap < b->lap || (a->lap == b->lap && a->guest_off < b->guest_off);
}

#endif
