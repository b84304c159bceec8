/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See built_rig.h. */
#include "tests/unit/formats/qcow2/built_rig.h"

#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "tests/support/images/build_image.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/write_rig.h"

uint8_t built_below[BELOW_LEN], built_bytes[N_GUEST * CLUSTER];

const struct build_cluster built_clusters[7] = {
	{ AT_DATA, BUILD_DATA, 1 },
	{ AT_DATA + 1, BUILD_DATA, 2 },
	{ AT_ZERO, BUILD_ZERO_PLAIN, 3 },
	{ AT_ZERO_ALLOC, BUILD_ZERO_ALLOC, 4 },
	{ AT_COMPRESSED, BUILD_COMPRESSED, 5 },
	{ AT_COMPRESSED + 1, BUILD_COMPRESSED, 6 },
	{ AT_COMPRESSED + 2, BUILD_COMPRESSED, 7 },
};

struct build_how built_plain_how(void)
{
	return (struct build_how){
		.cluster_bits = 12,
		.guest_len = N_GUEST * CLUSTER - 1024,
		.backing_name = "b",
		.backing_format = "raw",
		.clusters = built_clusters,
		.n_clusters = ARRAY_LEN(built_clusters),
	};
}

void built_open_built(struct write_rig *rig, const struct build_how *how)
{
	build_fill(built_below, sizeof(built_below), 77);
	build_fill(built_bytes, sizeof(built_bytes), 78);
	write_rig_open(rig, write_image_built(how), NULL, built_below,
		       how->backing_name ? sizeof(built_below) : 0);
}

void built_close_well(struct write_rig *rig)
{
	struct file *file = rig->file, *data = rig->data;

	write_rig_assert_model(rig);
	write_rig_settle(rig);
	write_rig_assert_model(rig);
	write_image_assert_sound(file, data, 0, rig->below, rig->below_len, rig->model,
				 rig->layer->guest_len);
	write_rig_close(rig);
	file_close(file);
	if (data)
		file_close(data);
}
