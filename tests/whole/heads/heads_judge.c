/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is left of all images, in this machine or after a power cut (heads.h). */
#include <string.h>

#include "formats/core/layer.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/whole/heads/heads.h"

bool heads_read_image(const struct heads *all, struct sim *sim, unsigned i, uint8_t *out,
		      struct sim_verdict *v)
{
	const struct heads_image *image = &all->images[i];
	struct sim_chain as = { .guest_len = heads_len_of(all, sim, i) };

	*v = (struct sim_verdict){ .ok = true };
	memset(out, 0, all->max_len);
	if (as.guest_len > all->max_len)
		sim_verdict_wrong(v, "it is %" PRIu64 " bytes long", as.guest_len);
	else if (image->format == IMAGE_RAW)
		sim_file_peek(sim, image->name, out,
			      MIN(as.guest_len, sim_file_len(sim, image->name)), 0);
	else
		sim_pull_read_head(&as, sim, image->name, image->format, out, v);
	return v->ok;
}

static void judge_head(struct heads *all, struct heads_head *h, struct sim *left, const char *when,
		       uint8_t *got)
{
	const char *name = all->images[h->top].name;
	uint64_t len = heads_len_of(all, left, h->top), bad;
	struct sim_verdict v;

	heads_assert(all, len == h->len || (len && (len == h->grow_to || len == h->other_len)),
		     "%s, '%s' is %" PRIu64 " bytes long instead of %" PRIu64, when, name, len,
		     h->len);
	heads_assert(all, heads_read_image(all, left, h->top, got, &v), "%s, '%s': %s", when, name,
		     v.text);
	bad = model_illegal_after_cut(&h->guest.model, got);
	heads_assert(all, bad == all->max_len,
		     "%s, '%s' at %" PRIu64 " is %#x, which it may not be", when, name, bad,
		     bad < all->max_len ? got[bad] : 0);
	heads_kinds_judge(all, h->top, left, when, got);
}

/* The image that was committed into the top reads as that does. */
static void judge_old_top(struct heads *all, const struct heads_head *h, struct sim *left,
			  const char *when, uint8_t *got)
{
	const char *name = all->images[h->old_top].name;
	struct sim_verdict v;
	uint64_t bad;

	heads_assert(all, heads_read_image(all, left, h->old_top, got, &v), "%s, old '%s': %s",
		     when, name, v.text);
	bad = model_illegal_after_cut(&h->guest.model, got);
	heads_assert(all, bad == all->max_len, "%s, '%s', which was '%s', at %" PRIu64 " is %#x",
		     when, all->images[h->top].name, name, bad, bad < all->max_len ? got[bad] : 0);
	heads_kinds_judge(all, h->old_top, left, when, got);
}

static bool is_trying(const struct heads *all, unsigned i)
{
	return all->trying != HEADS_NONE && i >= all->trying && i < all->trying + all->n_trying;
}

static void judge_trying(struct heads *all, unsigned i, struct sim *left, const char *when,
			 const uint8_t *want)
{
	uint8_t *got = sim_need(malloc(all->max_len));
	const char *name = all->images[i].name;
	struct sim_verdict v;

	heads_assert(all, heads_read_image(all, left, i, got, &v), "%s, new '%s': %s", when, name,
		     v.text);
	heads_assert(all, !memcmp(got, want, all->max_len), "%s, new '%s' reads otherwise", when,
		     name);
	free(got);
}

static void judge_image(struct heads *all, unsigned i, struct sim *left, const char *when,
			uint8_t *got)
{
	const struct heads_image *image = &all->images[i];
	struct sim_verdict v;

	heads_assert(all, sim_file_exists(left, image->name), "%s, '%s' is not there", when,
		     image->name);
	heads_assert(all, heads_read_image(all, left, i, got, &v), "%s, '%s': %s", when,
		     image->name, v.text);
	heads_kinds_judge(all, i, left, when, got);
	if (!image->held)
		return;
	heads_assert(all, heads_len_of(all, left, i) == image->len,
		     "%s, '%s' is %" PRIu64 " bytes long instead of %" PRIu64, when, image->name,
		     heads_len_of(all, left, i), image->len);
	for (uint64_t at = 0; at < image->len; at++)
		heads_assert(all, got[at] == image->held[at],
			     "%s, '%s' at %" PRIu64 " is %#x, and was %#x", when, image->name, at,
			     got[at], image->held[at]);
}

static bool is_top(const struct heads *all, unsigned i)
{
	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->is_used && (h->top == i || h->old_top == i))
			return true;
	return false;
}

/* It goes on with what is there. */
static void adopt(struct heads *all, struct heads_head *h, const struct sim *left,
		  const uint8_t *got, bool durable)
{
	uint64_t len = heads_len_of(all, left, h->top);

	h->died = false;
	h->is_loose = !durable;
	h->grow_to = 0;
	/* A length that was written just before a kill is not durable yet. */
	h->other_len = durable ? 0 : len == h->len ? h->other_len : h->len;
	h->len = all->images[h->top].len = len;
	model_restarted(&h->guest.model, got, durable);
}

static void judge_heads(struct heads *all, struct sim *left, const char *when,
			enum heads_death death)
{
	uint8_t *got = sim_need(malloc(all->max_len)), *old = sim_need(malloc(all->max_len));

	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++) {
		if (!h->is_used)
			continue;
		judge_head(all, h, left, when, got);
		if (h->old_top != HEADS_NONE)
			judge_old_top(all, h, left, when, old);
		for (unsigned i = 0; i < all->n_images; i++)
			if (is_trying(all, i) && h == &all->heads[all->trying_for] &&
			    sim_file_exists(left, all->images[i].name))
				judge_trying(all, i, left, when, got);
		if (death && h->died)
			adopt(all, h, left, got, death == HEADS_CUT);
	}
	free(got);
	free(old);
}

/* A snapshot's images, if they are there, are no disk's. */
static void drop_trying(struct heads *all)
{
	for (unsigned i = 0; i < all->n_images; i++) {
		struct heads_image *image = &all->images[i];

		if (!is_trying(all, i))
			continue;
		if (sim_file_exists(all->machine.sim, image->name))
			sim_file_remove(all->machine.sim, image->name);
		image->is_gone = true;
	}
	all->trying = HEADS_NONE;
}

void heads_judge(struct heads *all, const struct sim *left, const char *when,
		 enum heads_death death)
{
	uint8_t *got = sim_need(malloc(all->max_len));
	struct sim *copy = sim_cut(left, &(struct sim_cut){ .mode = SIM_CUT_NONE });

	judge_heads(all, copy, when, death);
	for (unsigned i = 0; i < all->n_images; i++)
		if (!all->images[i].is_gone && !is_trying(all, i) && !is_top(all, i) &&
		    (death || i % 3 == sim_n_all_ops(left) % 3))
			judge_image(all, i, copy, when, got);
	if (death)
		drop_trying(all);
	free(got);
	sim_free(copy);
}

void heads_look_at_cut(struct heads *all)
{
	static const enum sim_cut_mode modes[] = { SIM_CUT_ALL_LOST,  SIM_CUT_ALL_KEPT,
						   SIM_CUT_ONLY_LAST, SIM_CUT_RANDOM,
						   SIM_CUT_RANDOM,    SIM_CUT_NONE };
	struct sim_cut how = { .mode = modes[heads_below(all, ARRAY_LEN(modes))],
			       .seed = heads_below(all, UINT32_MAX) };
	struct sim *left = sim_cut(all->machine.sim, &how);
	char when[40];

	snprintf(when, sizeof(when), "as a cut of mode %d leaves it", (int)how.mode);
	heads_met.looks++;
	heads_judge(all, left, when, HEADS_ALIVE);
	sim_free(left);
}
