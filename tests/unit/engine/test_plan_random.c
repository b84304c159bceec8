/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Promises of engine/copy/walk/plan.h, against what each unit of drawn chains holds. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/chain/chain.h"
#include "io/base.h"
#include "tests/support/rigs/plan_rig.h"

#define MAX_DEPTH 4u
#define N_SEEDS   3000

struct expected_source {
	enum extent_kind kind;
	unsigned depth;
	uint64_t host_off;
};

/* What the layers [from, to) say of a unit; UNALLOCATED: nothing, ask below. */
static struct expected_source ask(const struct chain *chain, unsigned from, unsigned to,
				  uint64_t unit)
{
	for (unsigned d = from; d < to; d++) {
		const struct fake *fake = fake_of(chain->layers[d]);

		if (unit * UNIT >= fake->layer.guest_len)
			return (struct expected_source){ EXTENT_ZERO, 0, 0 };
		if (fake->kind[unit] != EXTENT_UNALLOCATED)
			return (struct expected_source){ fake->kind[unit], d,
							 plan_rig_host(fake, unit) };
	}
	return (struct expected_source){ to < chain->n_layers ? EXTENT_UNALLOCATED : EXTENT_ZERO, 0,
					 0 };
}

/* What a unit that the overlay lacks wants. */
static enum plan_action wanted(const struct chain *chain, uint64_t unit)
{
	struct expected_source s = ask(chain, 1, chain->pull_to, unit);
	bool partial = chain->pull_to < chain->n_layers;

	if (s.kind == EXTENT_UNALLOCATED || (s.kind == EXTENT_ZERO && !partial))
		return PLAN_SKIP;
	if (s.kind != EXTENT_ZERO)
		return PLAN_COPY;
	if (unit * UNIT >= chain->layers[chain->pull_to]->guest_len)
		return PLAN_SKIP;
	return chain->layers[0]->has_zero_entries ? PLAN_ZERO : PLAN_COPY;
}

/* No layer has a border between the two units. Else an answer may end there. */
static bool is_alike(const struct chain *chain, uint64_t a, uint64_t b)
{
	for (unsigned d = 1; d < chain->n_layers; d++) {
		const struct fake *fake = fake_of(chain->layers[d]);

		if (fake->kind[a] != fake->kind[b] ||
		    (a * UNIT < fake->layer.guest_len) != (b * UNIT < fake->layer.guest_len))
			return false;
	}
	return true;
}

static void check_next(struct chain *chain, uint64_t off, enum plan_action action, uint64_t len,
		       unsigned seed)
{
	const struct layer *overlay = chain->layers[0];
	uint64_t n_units = len / UNIT, granule = overlay->granule_len / UNIT;

	cr_assert(len && off * UNIT + len <= overlay->backed_len, "seed %u", seed);
	cr_assert(off * UNIT + len == overlay->backed_len || n_units % granule == 0,
		  "seed %u: it ends inside a granule", seed);
	for (uint64_t u = off; u < off + n_units; u++) {
		bool is_held = fake_of(overlay)->kind[u] != EXTENT_UNALLOCATED;

		cr_assert_eq(is_held, action == PLAN_PRESENT, "seed %u: unit %" PRIu64, seed, u);
		if (action == PLAN_SKIP || action == PLAN_ZERO)
			cr_assert_eq(wanted(chain, u), action, "seed %u: unit %" PRIu64, seed, u);
	}
	if (action != PLAN_COPY)
		return;
	/* Not all of the first granule is zeros of one kind. */
	for (uint64_t u = off; u < off + MIN(granule, n_units); u++)
		if (wanted(chain, u) == PLAN_COPY || !is_alike(chain, u, off))
			return;
	cr_assert_fail("seed %u: unit %" PRIu64 " needs no copy", seed, off);
}

static void check_part(const struct chain *chain, const struct plan *plan,
		       const struct plan_part *part, unsigned seed)
{
	for (uint32_t i = 0; i < part->len; i += UNIT) {
		uint64_t off = plan->guest_off + part->buf_off + i;
		struct expected_source s = ask(chain, 1, chain->n_layers, off / UNIT);

		cr_assert_eq(part->kind, s.kind, "seed %u: unit %" PRIu64, seed, off / UNIT);
		if (s.kind == EXTENT_ZERO)
			continue;
		cr_assert_eq(part->depth, s.depth, "seed %u", seed);
		if (s.kind == EXTENT_DATA)
			cr_assert_eq(part->host_off + i, s.host_off, "seed %u", seed);
		else
			cr_assert(part->host_off == s.host_off &&
					  part->skip == (off - i) % (COMPRESS * UNIT),
				  "seed %u", seed);
	}
}

/* Each compressed cluster is read once, by its first part, and each later one is found from it. */
static void check_repeats(const struct plan *plan, unsigned seed)
{
	for (unsigned i = 0; i < plan->n_parts; i++) {
		const struct plan_part *part = &plan->parts[i];
		unsigned before = i, next = i + 1;

		if (part->kind != EXTENT_COMPRESSED)
			continue;
		while (before-- && (plan->parts[before].kind != EXTENT_COMPRESSED ||
				    plan->parts[before].depth != part->depth ||
				    plan->parts[before].host_off != part->host_off))
			;
		while (next < plan->n_parts && (plan->parts[next].kind != EXTENT_COMPRESSED ||
						plan->parts[next].depth != part->depth ||
						plan->parts[next].host_off != part->host_off))
			next++;
		cr_assert_eq(part->is_repeat, before != UINT32_MAX, "seed %u: part %u", seed, i);
		cr_assert_eq(part->same, next < plan->n_parts ? next : 0, "seed %u: part %u", seed,
			     i);
	}
}

static void check_run(const struct chain *chain, uint64_t off, uint32_t max_len, uint32_t unit,
		      const struct plan *plan, unsigned seed)
{
	uint32_t at = 0, data_len = 0;

	cr_assert(plan->len && plan->len <= max_len && is_aligned(plan->len, unit), "seed %u: %u",
		  seed, plan->len);
	for (unsigned i = 0; i < plan->n_parts; i++) {
		const struct plan_part *part = &plan->parts[i];

		cr_assert(part->buf_off == at && part->len, "seed %u: part %u", seed, i);
		check_part(chain, plan, part, seed);
		at += part->len;
		data_len += part->kind == EXTENT_ZERO ? 0 : part->len;
	}
	/* What no part is for reads zeros. */
	for (; at < plan->len && off * UNIT + at < chain->layers[0]->backed_len; at += UNIT)
		cr_assert_eq(ask(chain, 1, chain->n_layers, off + at / UNIT).kind, EXTENT_ZERO,
			     "seed %u: %u of %u bytes", seed, at, plan->len);
	cr_assert_eq(plan->data_len, data_len, "seed %u", seed);
	check_repeats(plan, seed);
	/* Behind the first, units of which nothing is to be pulled are not the run's. */
	for (uint32_t u = unit; chain->pull_to < chain->n_layers && u < plan->len; u += unit) {
		uint64_t first = (plan->guest_off + u) / UNIT;
		bool any = false;

		for (uint64_t k = first; k < first + unit / UNIT && k * UNIT < LEN; k++)
			any |= wanted(chain, k) == PLAN_COPY || !is_alike(chain, k, first);
		cr_assert(any, "seed %u: unit at %u is not to be pulled", seed, u);
	}
}

static struct chain *draw(void)
{
	unsigned n_layers = 2 + (unsigned)rand() % (MAX_DEPTH - 1);
	uint32_t granule = 1u << rand() % 4;
	struct chain *chain = plan_rig_chain(n_layers, granule * UNIT);

	for (unsigned d = 0; d < n_layers; d++) {
		for (unsigned n = (unsigned)rand() % 9; n; n--) {
			enum extent_kind kind = (enum extent_kind)(rand() % 4);
			uint64_t from = (uint64_t)rand() % UNITS,
				 n_units = 1 + (uint64_t)rand() % 40;
			uint64_t host_off = (uint64_t)rand() % 64 * UNIT, grid = d ? 1 : granule;

			if (kind == EXTENT_COMPRESSED)
				grid = MAX((uint64_t)COMPRESS, grid);
			from = round_down(from, grid);
			plan_rig_fill(chain, d, from,
				      MIN(round_up(from + n_units, grid), (uint64_t)UNITS), kind,
				      host_off);
		}
		/* One that was overwritten in part is none any more. */
		for (uint64_t u = 0; u < UNITS; u++)
			if (fake_of(chain->layers[d])->kind[u] == EXTENT_COMPRESSED &&
			    fake_of(chain->layers[d])->kind[u / COMPRESS * COMPRESS] !=
				    EXTENT_COMPRESSED)
				fake_of(chain->layers[d])->kind[u] = EXTENT_ZERO;
		if (d && rand() % 3 == 0)
			chain->layers[d]->guest_len = (1 + (uint64_t)rand() % UNITS) * UNIT;
	}
	if (n_layers > 2 && rand() % 2)
		chain->pull_to = 2 + (unsigned)rand() % (n_layers - 2);
	chain->layers[0]->has_zero_entries = rand() % 2;
	return chain;
}

Test(plan, agrees_with_each_unit)
{
	static struct plan plan;

	for (unsigned seed = 1; seed <= N_SEEDS; seed++) {
		struct chain *chain;
		uint64_t len;

		srand(seed);
		chain = draw();
		for (uint64_t off = 0; off < LEN; off += len) {
			uint32_t unit = chain->layers[0]->granule_len;
			uint32_t max_len = unit * (1 + (uint32_t)rand() % 16);
			enum plan_action action;
			struct table_need need;

			cr_assert_eq(plan_next(chain, off, LEN, &action, &len, &need), 0);
			check_next(chain, off / UNIT, action, len, seed);
			if (action != PLAN_COPY)
				continue;
			cr_assert_eq(plan_run(chain, off, off + len, max_len, unit, &plan, &need),
				     0);
			check_run(chain, off / UNIT, max_len, unit, &plan, seed);
			len = MIN(plan.len, len);
		}
		plan_rig_drop(chain);
	}
}
