/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The set of kept ranges: lists by layer and by the multiple of KEPT_MAX_LEN that a range lies in,
 * each a few ranges long. Bytes come from malloc(), by the length of the range: slots of one size
 * were rejected, since ranges of a fragmented base are short and each would take a slot.
 *
 * A hold on a range, instead of looking for it again, means that a run which has seen a range can
 * rely on it, whatever is dropped meanwhile.
 */
#include "engine/core/kept.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/op.h"
#include "io/base.h"

/* Ranges of a fragmented base cost more than their bytes; behind this many a run reads for itself.
 * A copy run of 1 MiB may claim a few dozen. */
#define MAX_RANGES 4096

static unsigned list_of(uint64_t layer, uint64_t guest_off)
{
	return (unsigned)((guest_off / KEPT_MAX_LEN + layer * 7) % KEPT_N_LISTS);
}

struct kept *kept_find(const struct kept_set *set, uint64_t layer, uint64_t guest_off, uint64_t end)
{
	struct kept *first = NULL;

	assert(guest_off < end && guest_off / KEPT_MAX_LEN == (end - 1) / KEPT_MAX_LEN);
	for (struct kept *k = set->lists[list_of(layer, guest_off)]; k; k = k->next)
		if (k->layer == layer && k->guest_off < end && k->guest_off + k->len > guest_off &&
		    (!first || k->guest_off < first->guest_off))
			first = k;
	return first;
}

bool kept_has_room(const struct kept_set *set, uint64_t len)
{
	return set->n < MAX_RANGES && set->len + len <= set->max_len;
}

struct kept *kept_newest(const struct kept_set *set,
			 bool (*is_it)(void *opaque, const struct kept *kept), void *opaque)
{
	struct kept *newest = NULL;

	for (unsigned i = 0; i < KEPT_N_LISTS; i++)
		for (struct kept *k = set->lists[i]; k; k = k->next)
			if ((!newest || k->claimed_ns > newest->claimed_ns) && is_it(opaque, k))
				newest = k;
	return newest;
}

struct kept *kept_claim(struct kept_set *set, uint64_t layer, uint64_t guest_off, uint32_t len,
			uint64_t now_ns)
{
	struct kept **list = &set->lists[list_of(layer, guest_off)], *kept;

	assert(len && guest_off / KEPT_MAX_LEN == (guest_off + len - 1) / KEPT_MAX_LEN);
	if (!kept_has_room(set, len))
		return NULL;
	kept = malloc(sizeof(*kept));
	if (!kept)
		return NULL;
	*kept = (struct kept){ .layer = layer,
			       .guest_off = guest_off,
			       .len = len,
			       .state = KEPT_COMING,
			       .claimed_ns = now_ns,
			       .n_holds = 1,
			       .is_listed = true,
			       .next = *list };
	*list = kept;
	set->len += len;
	set->n++;
	return kept;
}

static void end_if_unused(struct kept_set *set, struct kept *kept)
{
	if (kept->is_listed || kept->n_holds)
		return;
	assert(!kept->waiters.first);
	set->len -= kept->len;
	set->n--;
	free(kept->bytes);
	free(kept);
}

void kept_drop(struct kept_set *set, struct kept *kept)
{
	struct kept **link = &set->lists[list_of(kept->layer, kept->guest_off)];

	if (!kept->is_listed)
		return;
	while (*link != kept)
		link = &(*link)->next;
	*link = kept->next;
	kept->is_listed = false;
	end_if_unused(set, kept);
}

void kept_hold(struct kept *kept)
{
	kept->n_holds++;
}

void kept_release(struct kept_set *set, struct kept *kept)
{
	assert(kept->n_holds);
	kept->n_holds--;
	end_if_unused(set, kept);
}

void kept_fill(struct kept_set *set, struct kept *kept, const uint8_t *bytes)
{
	if (kept->state == KEPT_LOST || (!kept->is_listed && kept->n_holds == 1)) {
		kept_release(set, kept);
		return;
	}
	kept->bytes = malloc(kept->len);
	if (!kept->bytes) {
		kept_lose(set, kept);
		return;
	}
	memcpy(kept->bytes, bytes, kept->len);
	kept->state = KEPT_HERE;
	op_wake_all(&kept->waiters, 0, NULL, 0, false);
	kept_release(set, kept);
}

/* The claimer holds it still. */
static void make_lost(struct kept_set *set, struct kept *kept)
{
	kept->state = KEPT_LOST;
	op_wake_all(&kept->waiters, 0, NULL, 0, false);
	kept_drop(set, kept);
}

void kept_lose(struct kept_set *set, struct kept *kept)
{
	if (kept->state == KEPT_COMING)
		make_lost(set, kept);
	kept_release(set, kept);
}

uint64_t kept_lose_late(struct kept_set *set, uint64_t before_ns)
{
	uint64_t first_ns = UINT64_MAX;
	struct kept *next;

	for (unsigned i = 0; set->n && i < KEPT_N_LISTS; i++)
		for (struct kept *k = set->lists[i]; k; k = next) {
			next = k->next;
			if (k->state != KEPT_COMING)
				continue;
			if (k->claimed_ns < before_ns)
				make_lost(set, k);
			else
				first_ns = MIN(first_ns, k->claimed_ns);
		}
	return first_ns;
}

void kept_sweep(struct kept_set *set, bool (*is_needed)(void *opaque, const struct kept *kept),
		void *opaque)
{
	struct kept *next;

	for (unsigned i = 0; set->n && i < KEPT_N_LISTS; i++)
		for (struct kept *k = set->lists[i]; k; k = next) {
			next = k->next;
			if (!is_needed(opaque, k))
				kept_drop(set, k);
		}
}
