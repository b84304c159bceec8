/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Making a layer's disk longer. */
#include "formats/core/layer_resize.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "io/err.h"
#include "io/file.h"

int layer_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err)
{
	struct shown shown;

	if (!layer->ops->resize)
		return err_set(err, -ENOTSUP, "%s: a %s disk can't be made longer",
			       file_show(layer->file, &shown), layer_format_name(layer));
	return layer->ops->resize->may_grow(layer, guest_len, err);
}

int layer_grow_tables(struct layer *layer, uint64_t guest_len, struct table_move *move,
		      struct table_need *need)
{
	assert(layer->ops->resize && guest_len > layer->guest_len);
	*move = (struct table_move){ 0 };
	if (!layer->ops->resize->grow_tables)
		return 0;
	return layer->ops->resize->grow_tables(layer, guest_len, move, need);
}

void layer_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len)
{
	assert(layer->ops->resize);
	layer->ops->resize->set_len(layer, move, guest_len);
}

bool layer_record_len(struct layer *layer)
{
	assert(layer->ops->resize);
	if (!layer->ops->resize->record_len)
		return false;
	layer->ops->resize->record_len(layer);
	return true;
}

void layer_keep_len(struct layer *layer, uint64_t guest_len, struct staged *staged)
{
	if (layer->ops->resize && layer->ops->resize->keep_len)
		layer->ops->resize->keep_len(layer, guest_len, staged);
}

int layer_stage_len(struct layer *layer, struct staged *staged)
{
	if (!layer->ops->resize || !layer->ops->resize->stage)
		return 0;
	return layer->ops->resize->stage(layer, staged);
}
