/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A session again and again, each time with another call of the machine failing, or with the power
 * cut at another operation. */
#ifndef BLOCKPULL_TESTS_EACH_FAULT_H
#define BLOCKPULL_TESTS_EACH_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/machine/files/sim.h"

/* Each call of each of these kinds, for want of space or not, once and for ever. try_fault: false
 * where there were fewer such calls. */
void each_fault(const enum sim_op *ops, size_t n_ops,
		bool (*try_fault)(const void *arg, const struct sim_fault *fault), const void *arg);
/* At each of n_ops operations. walk: its number, by which a build that makes fewer of them begins
 * elsewhere (effort.h). */
void each_cut(uint64_t n_ops, uint64_t walk, void (*try_cut)(const void *arg, uint64_t k),
	      const void *arg);

#endif
