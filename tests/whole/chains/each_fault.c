/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/whole/chains/each_fault.h"

#include <errno.h>

#include "tests/support/effort.h"

void each_fault(const enum sim_op *ops, size_t n_ops,
		bool (*try_fault)(const void *arg, const struct sim_fault *fault), const void *arg)
{
	for (size_t i = 0; i < n_ops; i++)
		for (unsigned kind = 0; kind < 4; kind++) {
			struct sim_fault fault = { .op = ops[i],
						   .nth = EFFORT_FIRST(i + kind),
						   .error = kind & 1 ? -ENOSPC : -EIO,
						   .forever = kind & 2 };

			if (ops[i] == SIM_READ && fault.error == -ENOSPC)
				continue;
			while (try_fault(arg, &fault))
				fault.nth += EFFORT_STEP;
		}
}

void each_cut(uint64_t n_ops, uint64_t walk, void (*try_cut)(const void *arg, uint64_t k),
	      const void *arg)
{
	for (uint64_t k = EFFORT_FIRST(walk); k <= n_ops; k += EFFORT_STEP)
		try_cut(arg, k);
}
