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

/* A look takes less. If one has taken more, another program was at work on this core: one that
 * looks is put behind it, one that sleeps is woken before it. ... */
#define SPIN_TAKEN_NS 500000u
/* ... So many waits are slept through then. */
#define SPIN_TAKEN_WAITS 64u

struct spin {
	uint32_t ns;            /* to look for; at most SPIN_MAX_NS */
	uint32_t n_taken_waits; /* to be slept through yet */
};

/* There was no work for waited_ns, of which the server slept slept_ns. */
void spin_learn(struct spin *spin, uint64_t waited_ns, uint64_t slept_ns);
/* A wait begins. False: it is to be slept through. */
bool spin_take_look(struct spin *spin);
/* A look found no work, and took so long. */
void spin_looked(struct spin *spin, uint64_t took_ns);

#endif
