/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The tables of a layer, asked and judged. Where an answer ends depends on what
 * the image says of its geometry, so a wrong end is an error and no assertion.
 */
#include "formats/core/layer_tables.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"

/* What walks from table to table must get on. */
static int judge_end(int rc, uint64_t guest_off, const uint64_t *end_off)
{
	return rc || *end_off > guest_off ? rc : -EUCLEAN;
}

int layer_table_at(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		   struct table_need *need)
{
	int rc;

	assert(layer->ops->tables && guest_off < layer->guest_len);
	rc = layer->ops->tables->table_at(layer, guest_off, has, end_off, need);
	return judge_end(rc, guest_off, end_off);
}

int layer_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		      uint64_t *end_off, struct table_need *need)
{
	int rc;

	assert(layer->ops->tables && guest_off < layer->guest_len);
	rc = layer->ops->tables->table_place(layer, guest_off, place, end_off, need);
	if (!rc && place->len > TABLE_MAX_LEN)
		return -EUCLEAN;
	return judge_end(rc, guest_off, end_off);
}

int layer_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		    struct table_need *need)
{
	int rc;

	assert(layer->ops->tables);
	rc = layer->ops->tables->has_table(layer, guest_off, has, end_off, need);
	return judge_end(rc, guest_off, end_off);
}

int layer_begin_measuring(struct layer *layer, struct err *err)
{
	const struct layer_tables_ops *ops = layer->ops->tables;

	return ops && ops->begin_measuring ? ops->begin_measuring(layer, err) : 0;
}

int layer_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		  struct err *err)
{
	assert(layer->ops->tables);
	return layer->ops->tables->measure(layer, n_data, n_tables, end_off, err);
}
