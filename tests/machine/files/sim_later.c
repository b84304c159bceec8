/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What others end in the simulated machine, beside its backend: each at its time, and what is due
 * in an order that the seed draws. Where there is none, no number is drawn: seeds of machines
 * without it play what they always did.
 */
#include "io/wake.h"
#include "tests/machine/files/sim_private.h"

void sim_later(struct sim *sim, uint64_t due_ns, void (*run)(void *arg), void *arg)
{
	if (sim->n_later == sim->later_cap) {
		sim->later_cap = MAX(sim->later_cap * 2, (size_t)16);
		sim->later = sim_need(realloc(sim->later, sim->later_cap * sizeof(sim->later[0])));
	}
	sim->later[sim->n_later++] = (struct sim_later){ .due_ns = due_ns, .run = run, .arg = arg };
	wake_signal(sim->wake_fd);
}

bool sim_later_drop(struct sim *sim, const void *arg)
{
	for (size_t i = 0; i < sim->n_later; i++) {
		if (sim->later[i].arg != arg)
			continue;
		sim->later[i] = sim->later[--sim->n_later];
		return true;
	}
	return false;
}

uint64_t sim_later_next_ns(const struct sim *sim)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < sim->n_later; i++)
		next = MIN(next, sim->later[i].due_ns);
	return next;
}

static size_t count_due(const struct sim *sim)
{
	size_t n = 0;

	for (size_t i = 0; i < sim->n_later; i++)
		n += sim->later[i].due_ns <= sim->now_ns;
	return n;
}

static struct sim_later take_nth_due(struct sim *sim, size_t nth)
{
	struct sim_later taken;
	size_t i = 0;

	while (sim->later[i].due_ns > sim->now_ns || nth--)
		i++;
	taken = sim->later[i];
	sim->later[i] = sim->later[--sim->n_later];
	return taken;
}

void sim_later_run(struct sim *sim)
{
	size_t n_due = count_due(sim);

	for (size_t n = n_due ? 1 + sim_below(sim, n_due) : 0; n && n_due; n--) {
		struct sim_later later = take_nth_due(sim, sim_below(sim, n_due));

		later.run(later.arg);
		n_due = count_due(sim);
	}
}
