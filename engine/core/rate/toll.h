/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job's runs cost a guest. A run takes a processor, memory and the device, and where the
 * guest's requests need the same one, fewer of them end while it is in flight than while the job
 * rests. The difference is time that the guest has lost, and the job rests in proportion to it: a
 * guest that asks without a pause, on the processor where the copying goes on, meets few runs,
 * and one that the runs do not slow costs the job nothing: a difference that chance explains does
 * not count. (Requests that come in bursts vary more than is allowed for here. Such a guest may
 * cost half of the job's share though it loses nothing.)
 *
 * Requests are counted and not timed: a guest that has many in flight waits for each other's, too,
 * and one in eight reads alone is timed.
 *
 * Pure. Spells of time in which runs are in flight take turns with rests, in which none is.
 */
#ifndef BLOCKPULL_CORE_TOLL_H
#define BLOCKPULL_CORE_TOLL_H

#include <stdbool.h>
#include <stdint.h>

/* A guest may lose one in so many of its requests to a job. */
#define TOLL_PARTS 32u

/* A longer spell does not count: the job or the guest was paused in it. */
#define TOLL_MAX_SPELL_NS UINT64_C(100000000)

struct toll_sum {
	uint64_t ns, n; /* time, and requests that ended in it, in 256ths; both fade */
};

/* Zero-initialised it knows nothing. */
struct toll {
	unsigned n_runs;   /* in flight */
	bool is_sound;     /* the guest was at work when the present spell began */
	uint64_t since_ns; /* when the spell began */
	uint64_t n_then;   /* requests that had ended by then */
	struct toll_sum runs, rests;
};

/* A run begins. n_over: how many guest requests have ended so far; has_guest: a guest is at
 * work. */
void toll_run_begins(struct toll *toll, uint64_t now_ns, uint64_t n_over, bool has_guest);
/* One of the runs in flight has ended. */
void toll_run_ends(struct toll *toll, uint64_t now_ns, uint64_t n_over, bool has_guest);
/* How long to rest after a run of run_ns. 0: it has cost the guest nothing, or nothing is known. */
uint64_t toll_rest_ns(const struct toll *toll, uint64_t run_ns);

#endif
