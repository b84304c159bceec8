/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two levels of tables: an L1 entry leads to an L2 table, an L2 entry to a
 * cluster. L2 tables are read and changed in slices.
 *
 * two_level_publish() runs twice over its ranges before it changes an entry,
 * asking for every table that it will touch. An undo log, so that one pass would
 * do, was rejected: there is nothing to undo when nothing is changed early.
 */
#include "formats/core/two_level.h"

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "io/base.h"

int two_level_table_at(struct layer *layer, const struct two_level_lookup *lookup,
		       uint64_t guest_off, bool *has, uint64_t *end_off, struct table_need *need)
{
	uint64_t l2_off, span = lookup->l2_span(layer);
	int rc = lookup->l2_off(layer, guest_off, &l2_off, need);

	*has = !rc && l2_off;
	if (!rc)
		*end_off = round_down(guest_off, span) + span;
	return rc;
}

int two_level_table_place(struct layer *layer, const struct two_level_lookup *lookup,
			  uint64_t guest_off, struct table_need *place, uint64_t *end_off,
			  struct table_need *need)
{
	uint64_t l2_off, span;
	int rc = lookup->l2_off(layer, guest_off, &l2_off, need);

	if (rc)
		return rc;
	span = l2_off ? lookup->slice_span(layer) : lookup->l2_span(layer);
	*place = lookup->slice(layer, l2_off, guest_off);
	if (!l2_off)
		place->len = 0;
	*end_off = round_down(guest_off, span) + span;
	return 0;
}

static int prepare_all(struct layer *layer, const struct two_level_change *change,
		       const struct mapping *maps, size_t n_maps, struct table_need *need)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n_maps; i++)
		rc = change->prepare(layer, &maps[i], need);
	return rc;
}

int two_level_publish(struct layer *layer, const struct two_level_change *change,
		      const struct mapping *maps, size_t n_maps, struct table_need *need)
{
	int rc = prepare_all(layer, change, maps, n_maps, need);

	for (size_t i = 0; !rc && i < n_maps; i++)
		rc = change->alloc_tables(layer, maps[i].guest_off, maps[i].len, need);
	/* The slices of new tables are asked for now, and those that linking may have pushed out of
	 * the cache. */
	if (!rc)
		rc = prepare_all(layer, change, maps, n_maps, need);
	for (size_t i = 0; !rc && i < n_maps; i++)
		change->set(layer, &maps[i]);
	return rc;
}
