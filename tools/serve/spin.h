/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How long the server looks for work before it sleeps: pure. */
#ifndef TOOLS_SERVE_SPIN_H
#define TOOLS_SERVE_SPIN_H

#include <stdint.h>

#define SPIN_MAX_NS 50000u
/* A wait that was shorter than this would have been found by looking: to sleep and to be woken
 * takes most of it. */
#define SPIN_SHORT_NS 150000u

struct spin {
	uint32_t ns; /* to look for; at most SPIN_MAX_NS */
};

/* There was no work for waited_ns, of which the server slept slept_ns. */
void spin_learn(struct spin *spin, uint64_t waited_ns, uint64_t slept_ns);

#endif
