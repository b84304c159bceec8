/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See check_rig.h. */
#include "tests/unit/formats/qcow2/check_rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/open.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

void verdict_note(void *opaque, bool is_leak, const char *text)
{
	struct verdict *v = opaque;
	uint64_t h = is_leak ? 7 : 11;

	if (!v->first[0])
		snprintf(v->first, sizeof(v->first), "%s", text);
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	v->hash += h;
}

struct verdict verdict_of_bytes(const uint8_t *bytes, uint64_t len, uint64_t window)
{
	struct file *file = mem_file_new("img", len);
	struct verdict v = { 0 };
	struct layer *layer;
	struct err err = { 0 };

	memcpy(mem_file_inode(file)->bytes, bytes, len);
	v.result = (struct check_result){ .report = verdict_note,
					  .opaque = &v,
					  .max_reports = 100000 };
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
	if (window)
		cr_assert_eq(qcow2_check_windowed(layer, &v.result, &err, window), 0);
	else
		cr_assert_eq(layer_check(layer, &v.result, &err), 0, "%s", err.message);
	cr_assert_eq(mem_file_inode(file)->n_writes, 0, "it wrote");
	v.n_reads = mem_file_inode(file)->n_reads;
	layer_close(layer);
	file_close(file);
	return v;
}

struct verdict verdict_of_image(const struct build_image *image)
{
	static const uint64_t windows[] = { 1, 7, 64, 1000 };
	struct verdict v = verdict_of_bytes(image->bytes, image->len, 0);

	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		struct verdict w = verdict_of_bytes(image->bytes, image->len, windows[i]);

		cr_assert_eq(w.result.n_errors, v.result.n_errors, "window %" PRIu64, windows[i]);
		cr_assert_eq(w.result.n_leaks, v.result.n_leaks, "window %" PRIu64, windows[i]);
		cr_assert_eq(w.hash, v.hash, "window %" PRIu64, windows[i]);
		cr_assert_eq(w.result.image_end_off, v.result.image_end_off);
		cr_assert_eq(w.result.n_allocated_clusters, v.result.n_allocated_clusters);
		cr_assert_eq(w.result.n_zero_clusters, v.result.n_zero_clusters);
		cr_assert_eq(w.result.n_compressed_clusters, v.result.n_compressed_clusters);
	}
	return v;
}

const struct build_cluster check_small_clusters[] = {
	{ 0, BUILD_DATA, 1 },       { 1, BUILD_DATA, 2 },       { 2, BUILD_DATA, 3 },
	{ 3, BUILD_DATA, 4 },       { 4, BUILD_ZERO_ALLOC, 5 }, { 5, BUILD_COMPRESSED, 6 },
	{ 6, BUILD_ZERO_PLAIN, 0 },
};
const struct build_how check_small = {
	.cluster_bits = 12,
	.guest_len = 1 << 20,
	.clusters = check_small_clusters,
	.n_clusters = 7,
};
