/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a power cut leaves. The uncertain writes of all files are put in one
 * order (completed ones first, as they completed, then those in flight), each
 * is given a fate, and the survivors are laid over the durable contents in that
 * order. Pages are shared with the old machine, so that enumerating thousands
 * of cuts of one run costs little.
 *
 * In random cuts a lost write past the end may still have grown the file: the
 * length is metadata and can reach the disk before the data, which then reads
 * as zeros.
 */
#include <assert.h>

#include "tests/machine/files/sim_private.h"

struct sim_fate {
	const struct sim_file *file;
	const struct sim_write *write;
	enum {
		SIM_LOST,
		SIM_KEPT,
		SIM_TORN
	} fate;
};

static size_t sim_cut_list(const struct sim_write *write, const struct sim_file *file,
			   struct sim_fate *out)
{
	size_t n = 0;
	for (; write; write = write->next) {
		if (write->durable)
			continue;
		if (out)
			out[n] = (struct sim_fate){ .file = file, .write = write };
		n++;
	}
	return n;
}

static size_t sim_cut_all(const struct sim *sim, struct sim_fate *out)
{
	size_t n = 0;
	for (const struct sim_file *file = sim->files; file; file = file->next) {
		if (!sim_name_may_stay(file))
			continue;
		n += sim_cut_list(file->log, file, out ? out + n : NULL);
		n += sim_cut_list(file->flying, file, out ? out + n : NULL);
	}
	return n;
}

size_t sim_n_uncertain(const struct sim *sim)
{
	return sim_cut_all(sim, NULL);
}

static uint64_t sim_cut_order(const struct sim_write *write)
{
	return write->done ? write->done : UINT64_MAX / 2 + write->seq;
}

static int sim_cut_compare(const void *a, const void *b)
{
	uint64_t x = sim_cut_order(((const struct sim_fate *)a)->write);
	uint64_t y = sim_cut_order(((const struct sim_fate *)b)->write);
	return x < y ? -1 : x > y;
}

static bool sim_cut_keeps(const struct sim_cut *how, const struct sim_fate *fate, size_t i,
			  size_t n)
{
	const struct sim_write *write = fate->write;

	switch (how->mode) {
	case SIM_CUT_ALL_LOST: return false;
	case SIM_CUT_NONE:
	case SIM_CUT_ALL_KEPT: return true;
	case SIM_CUT_RANDOM: break;
	case SIM_CUT_ONLY_FIRST: return i == 0;
	case SIM_CUT_ONLY_LAST: return i == n - 1;
	case SIM_CUT_PREFIX: return i < how->n;
	case SIM_CUT_ONLY: return i == how->n;
	case SIM_CUT_ALL_BUT: return i != how->n;
	case SIM_CUT_MASK: return i < 64 && (how->mask >> i & 1);
	case SIM_CUT_CHOSEN: return how->keep(how->arg, fate->file->name, write->off, write->len);
	}
	abort();
}

static void sim_cut_decide(struct sim *to, const struct sim_cut *how, struct sim_fate *fates,
			   size_t n)
{
	struct sim_fate *last = NULL;

	for (size_t i = 0; i < n; i++) {
		if (how->mode == SIM_CUT_RANDOM) {
			fates[i].fate = sim_below(to, 3);
			continue;
		}
		if (sim_cut_keeps(how, &fates[i], i, n)) {
			fates[i].fate = SIM_KEPT;
			last = &fates[i];
		}
	}
	if (how->tear_last && last)
		last->fate = SIM_TORN;
}

static void sim_cut_apply(struct sim *to, struct sim_store *store, const struct sim_write *write,
			  int fate, bool random)
{
	if (write->is_truncate) {
		if (fate == SIM_KEPT || (fate == SIM_TORN && sim_chance(to, 500)))
			sim_store_truncate(store, write->off);
		return;
	}
	if (fate == SIM_KEPT)
		sim_log_apply(store, write);
	if (fate == SIM_TORN)
		sim_tear(store, write, &to->rng);
	if (write->is_punch)
		return;
	uint64_t end = write->off + write->len;
	if (random && end > store->len && sim_chance(to, 300))
		sim_store_truncate(store, end);
}

static const struct sim_fate *sim_cut_fate(const struct sim_fate *fates, size_t n,
					   const struct sim_write *write)
{
	struct sim_fate key = { .write = write };
	return bsearch(&key, fates, n, sizeof(*fates), sim_cut_compare);
}

static void sim_cut_file(struct sim *to, const struct sim_file *from, const struct sim_cut *how,
			 const char *name, const struct sim_fate *fates, size_t n)
{
	struct sim_file *file;
	const struct sim_write *lists[] = { from->log, from->flying };

	/* Two may have borne one name, one after the other: the later one has it. */
	if (sim_file_exists(to, name))
		sim_file_remove(to, name);
	file = sim_file_add(to, name);
	file->limit = from->limit;
	file->mtime_ns = from->mtime_ns;
	sim_store_clone(&file->durable, how->mode == SIM_CUT_NONE ? &from->live : &from->durable);
	for (size_t i = 0; how->mode != SIM_CUT_NONE && i < ARRAY_LEN(lists); i++) {
		for (const struct sim_write *write = lists[i]; write; write = write->next) {
			int fate = write->durable ? SIM_KEPT : sim_cut_fate(fates, n, write)->fate;
			bool random = how->mode == SIM_CUT_RANDOM && !write->durable;
			sim_cut_apply(to, &file->durable, write, fate, random);
		}
	}
	sim_store_clone(&file->live, &file->durable);
}

struct sim *sim_cut(const struct sim *sim, const struct sim_cut *how)
{
	struct sim *to = sim_new(how->seed);
	size_t n = sim_cut_all(sim, NULL);
	autofree struct sim_fate *fates = sim_need(calloc(n + 1, sizeof(*fates)));

	sim_cut_all(sim, fates);
	qsort(fates, n, sizeof(*fates), sim_cut_compare);
	sim_cut_decide(to, how, fates, n);
	for (const struct sim_file *file = sim->files; file; file = file->next) {
		const char *name = sim_name_left(to, file, how);

		if (name)
			sim_cut_file(to, file, how, name, fates, n);
	}
	to->knobs = sim->knobs;
	return to;
}
