/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How long the server looks for work before it sleeps: pure. */
#ifndef TOOLS_SERVE_SPIN_H
#define TOOLS_SERVE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_MAX_NS 50000u
/* A wait that was shorter than this would have been found by looking: to sleep and to be woken
 * takes most of it. */
#define SPIN_SHORT_NS 150000u

/* A request that is in flight may need this core: it is given away between two looks. Where it
 * does not come back for so long, another program is at work on it, ... */
#define SPIN_TAKEN_NS 500000u
/* ... and so many waits for a request are slept through: who sleeps is woken before others. */
#define SPIN_TAKEN_WAITS 64u

struct spin {
	uint32_t ns;            /* to look for; at most SPIN_MAX_NS */
	uint32_t n_taken_waits; /* to be slept through yet */
};

/* There was no work for waited_ns, of which the server slept slept_ns. */
void spin_learn(struct spin *spin, uint64_t waited_ns, uint64_t slept_ns);
/* A wait with requests in flight begins. False: it is to be slept through. */
bool spin_may_yield(struct spin *spin);
/* The core was given away, and came back after so long. */
void spin_yielded(struct spin *spin, uint64_t took_ns);

#endif
