/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sources of the simulated machine: how they are drawn, and what befalls them. */
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_source_private.h"
#include "tests/support/random.h"

struct sim_source_how sim_source_draw(uint64_t seed, bool fails)
{
	static const uint32_t blocks[] = { 0, 1, 512, 4096, 65536 };
	uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	struct sim_source_how how = {
		.block_size = blocks[random_below(&random, ARRAY_LEN(blocks))],
		.max_size = random_below(&random, 3) ? 65536u << random_below(&random, 3) : 0,
		.max_delay_ns = UINT64_C(1) << random_below(&random, 31),
		.has_extents = random_below(&random, 3),
		.has_identity = random_below(&random, 2),
		.inside_permille = (unsigned)random_below(&random, 3) * 300,
		.chunk_size = random_below(&random, 3) ? 0 : 4096u << random_below(&random, 6),
	};

	if (random_below(&random, 2))
		how.patience_ns = UINT64_C(100000) << random_below(&random, 18);
	how.fail_permille = fails && random_below(&random, 3) ? 60 : 0;
	how.lie_permille = fails && random_below(&random, 3) ? 60 : 0;
	return how;
}

/* ---- What befalls it ---- */

void sim_source_leave(struct sim_sources *all, unsigned i, uint64_t until_ns)
{
	all->of[i].away_until_ns = until_ns;
}

void sim_source_change(struct sim_sources *all, unsigned i, void (*changed)(void *arg), void *arg)
{
	all->of[i].is_other = true;
	all->of[i].changed = changed;
	all->of[i].changed_arg = arg;
}

void sim_sources_may_fail(struct sim_sources *all, bool may)
{
	all->may_fail = may;
}

uint64_t sim_source_n_good(const struct sim_sources *all, unsigned i)
{
	return all->of[i].n_good;
}

void sim_source_note_read(struct sim_source *s, const struct question *q)
{
	if (q->is_of_call)
		return;
	if (!s->was_read)
		s->was_read = sim_need(calloc(1, sim_file_len(s->all->sim, s->name)));
	s->n_read += q->len;
	for (uint64_t at = q->off; at + s->how.shared_tail < q->off + q->len; at++) {
		s->n_reread += s->was_read[at];
		s->was_read[at] = 1;
	}
}

uint64_t sim_source_n_read(const struct sim_sources *all, unsigned i)
{
	return all->of[i].n_read;
}

uint64_t sim_source_n_reread(const struct sim_sources *all, unsigned i)
{
	return all->of[i].n_reread;
}

unsigned sim_source_n_open(const struct sim_sources *all, unsigned i)
{
	return all->of[i].n_open;
}

bool sim_source_is_stale(const struct sim_sources *all, unsigned i)
{
	return all->of[i].is_told;
}

struct sim_sources_counts sim_sources_counts(const struct sim_sources *all)
{
	return all->counts;
}

uint64_t sim_sources_n_bad(const struct sim_sources *all)
{
	const struct sim_sources_counts *c = &all->counts;

	return c->away + c->stale + c->failed + c->wrong;
}

/* ---- Reads that are not over ---- */

/* Another one of its read, which ends with the last of them. */
static struct question *find_sibling(const struct sim_source *s, const struct question *q)
{
	for (struct question *other = s->questions; other; other = other->next)
		if (other != q && other->read_number == q->read_number)
			return other;
	return NULL;
}

void sim_source_leave_bad(struct sim_source *s, const struct question *q)
{
	struct question *sibling = find_sibling(s, q);

	if (sibling)
		sibling->n_bad += q->n_bad;
	else if (s->last.number == q->read_number)
		s->last.n_bad += q->n_bad;
}

void sim_source_take_bad(struct sim_source *s, struct question *q)
{
	if (s->last.asked_ns == q->asked_ns && s->last.end == q->off)
		q->n_bad = s->last.n_bad;
	else
		s->last.number++;
	q->read_number = s->last.number;
	s->last.end = q->off + q->len;
	s->last.asked_ns = q->asked_ns;
	s->last.n_bad = 0;
}

uint64_t sim_sources_n_bad_over(const struct sim_sources *all)
{
	uint64_t n = sim_sources_n_bad(all);

	for (unsigned i = 0; i < all->n; i++)
		for (const struct question *q = all->of[i].questions; q; q = q->next)
			n -= q->n_bad;
	return n;
}
