/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/whole/chains/each_epoch.h"

#include <stdio.h>

#include "io/blocking.h"

static void judge(struct epochs *epochs, enum sim_cut_mode mode, size_t i, size_t n)
{
	struct sim *left = sim_cut(epochs->sim, &(struct sim_cut){ .mode = mode, .n = i });
	char when[120];

	snprintf(when, sizeof(when), "before operation %llu, %s write %zu of %zu",
		 (unsigned long long)sim_n_all_ops(epochs->sim),
		 mode == SIM_CUT_ONLY ? "with" : "without", i + 1, n);
	epochs->judge(epochs->trial, left, when);
	epochs->n_looks++;
	sim_free(left);
}

/* What holds for the engine's rounds does not hold for the judge. */
static void look(void *arg, enum sim_op op)
{
	struct epochs *epochs = arg;
	size_t n = op == SIM_SYNC ? sim_n_uncertain(epochs->sim) : 0;
	struct blocking *rounds = blocking_set(NULL);

	for (size_t i = 0; i < n; i++) {
		judge(epochs, SIM_CUT_ONLY, i, n);
		if (n > 2)
			judge(epochs, SIM_CUT_ALL_BUT, i, n);
	}
	blocking_set(rounds);
}

void epochs_begin(struct epochs *epochs)
{
	sim_watch(epochs->sim, look, epochs);
}

void epochs_end(struct epochs *epochs)
{
	sim_watch(epochs->sim, NULL, NULL);
}
