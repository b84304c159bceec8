/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: the guest's writes. A cluster that has space is the guest's alone and is
 * written in place; one without, or with a zero entry, gets space and an entry.
 * The format can't free a cluster: where the guest wants zeros in one that has
 * space, the engine writes zeros there.
 */
#include "formats/qed/write.h"

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/core/table_cache.h"
#include "formats/qed/map.h"

int qed_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		  struct table_need *need)
{
	struct extent e;
	int rc = qed_map(layer, guest_off, len, &e, need);

	if (rc)
		return rc;
	*out = (struct write_extent){
		.kind = e.kind == EXTENT_DATA ? WRITE_IN_PLACE : WRITE_NEW,
		.guest_off = guest_off,
		.len = e.len,
		.host_off = e.host_off,
		.unit_len = layer->cluster_len,
		.reads_zero = e.kind == EXTENT_ZERO,
		.is_unallocated = e.kind == EXTENT_UNALLOCATED,
	};
	return 0;
}

/* A cluster without space gets new space. */
int qed_write_target(struct layer *layer, uint64_t guest_off, uint64_t len, struct destination *out,
		     struct table_need *need)
{
	(void)layer;
	(void)guest_off;
	(void)need;
	*out = (struct destination){ .len = len };
	return 0;
}

/* All entries that it replaces are without space. */
int qed_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
		      struct table_need *need)
{
	return qed_publish_over_zeros(layer, maps, n_maps, need);
}
