/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See repair_scene.h. */
#include "tests/unit/formats/qcow2/repair_scene.h"

#include <criterion/criterion.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

void scene_make(struct scene *s, unsigned cluster_bits, unsigned refcount_bits)
{
	static const enum build_kind kinds[] = { BUILD_DATA,       BUILD_ZERO_PLAIN,
						 BUILD_DATA,       BUILD_COMPRESSED,
						 BUILD_COMPRESSED, BUILD_ZERO_ALLOC,
						 BUILD_DATA,       BUILD_DATA };

	*s = (struct scene){ .order = (unsigned)__builtin_ctz(refcount_bits) };
	for (uint32_t i = 0; i < ARRAY_LEN(kinds); i++) {
		/* Compressed clusters share host clusters: one bit counts to 1 only. */
		enum build_kind kind =
			refcount_bits == 1 && kinds[i] == BUILD_COMPRESSED ? BUILD_DATA : kinds[i];

		s->clusters[i] = (struct build_cluster){ i < 6 ? i : 60 + i, kind, 100 + i };
	}
	s->how = (struct build_how){ .cluster_bits = cluster_bits,
				     .refcount_bits = refcount_bits,
				     .guest_len = (UINT64_C(1) << cluster_bits) * N_GUEST,
				     .clusters = s->clusters,
				     .n_clusters = ARRAY_LEN(kinds),
				     .shuffle_seed = 1 + cluster_bits * refcount_bits };
	s->image = build_image(&s->how);
	s->data_idx = (build_get64(&s->image, build_l2_entry_off(&s->image, 2)) & QCOW2_OFF_MASK) >>
		      cluster_bits;
}

static void set_refcount(struct scene *s, uint64_t idx, uint64_t value)
{
	qcow2_refcount_put(s->image.bytes + s->image.refblock_off, idx, s->order, value);
}

static void flip_copied(struct scene *s, uint64_t host_off)
{
	build_put64(&s->image, host_off, build_get64(&s->image, host_off) ^ COPIED);
}

static void append_clusters(struct scene *s, size_t n)
{
	size_t more = n << s->image.cluster_bits;

	s->image.bytes = realloc(s->image.bytes, s->image.len + more);
	cr_assert(s->image.bytes);
	memset(s->image.bytes + s->image.len, 0xee, more);
	s->image.len += more;
}

static void leak_at_the_end(struct scene *s)
{
	uint64_t idx = s->image.len >> s->image.cluster_bits;

	append_clusters(s, 3);
	set_refcount(s, idx, 1);
	set_refcount(s, idx + 2, 1);
}

void scene_leak_inside(struct scene *s)
{
	uint64_t at = build_l2_entry_off(&s->image, 0);

	build_put64(&s->image, at, 0);
	s->clusters[0].kind = BUILD_UNALLOCATED;
	leak_at_the_end(s);
}

static void counted_twice(struct scene *s)
{
	set_refcount(s, s->data_idx, 2);
	flip_copied(s, build_l2_entry_off(&s->image, 2));
}

static void counted_twice_and_copied(struct scene *s)
{
	set_refcount(s, s->data_idx, 2);
}

void scene_stale_flags(struct scene *s)
{
	flip_copied(s, build_l2_entry_off(&s->image, 2));
	flip_copied(s, s->image.l1_off);
}

static void not_counted(struct scene *s)
{
	set_refcount(s, s->data_idx, 0);
	leak_at_the_end(s);
}

void scene_nothing_counted(struct scene *s)
{
	for (uint64_t i = 1; i < s->image.len >> s->image.cluster_bits; i++)
		set_refcount(s, i, 0);
	put_be64(s->image.bytes + QCOW2_H_INCOMPAT, QCOW2_INCOMPAT_DIRTY);
}

void scene_only_dirty(struct scene *s)
{
	put_be64(s->image.bytes + QCOW2_H_INCOMPAT, QCOW2_INCOMPAT_DIRTY);
}

static void block_missing(struct scene *s)
{
	build_put64(&s->image, s->image.reftable_off, 0);
	put_be64(s->image.bytes + QCOW2_H_INCOMPAT, QCOW2_INCOMPAT_CORRUPT);
}

static void block_is_the_l1_table(struct scene *s)
{
	build_put64(&s->image, s->image.reftable_off, s->image.l1_off);
}

static void block_outside(struct scene *s)
{
	build_put64(&s->image, s->image.reftable_off, UINT64_C(1) << 50);
}

static void data_named_twice(struct scene *s)
{
	uint64_t entry = build_get64(&s->image, build_l2_entry_off(&s->image, 2));

	build_put64(&s->image, build_l2_entry_off(&s->image, 7), entry);
	s->clusters[8] = s->clusters[2];
	s->clusters[8].guest_idx = 7;
	s->how.n_clusters = 9;
}

static void data_outside(struct scene *s)
{
	build_put64(&s->image, build_l2_entry_off(&s->image, 2), COPIED | UINT64_C(1) << 50);
}

static void data_is_the_l1_table(struct scene *s)
{
	build_put64(&s->image, build_l2_entry_off(&s->image, 2), COPIED | s->image.l1_off);
}

const struct fault repair_faults[N_REPAIR_FAULTS] = {
	{ "a leak at the end", leak_at_the_end, LEAKS, 1 },
	{ "a leak inside", scene_leak_inside, LEAKS, 1 },
	{ "counted twice", counted_twice, LEAKS, 2 },
	{ "stale flags", scene_stale_flags, LEAKS, 1 },
	{ "counted twice, with the flag", counted_twice_and_copied, ALL, 2 },
	{ "not counted", not_counted, ALL, 1 },
	{ "nothing counted", scene_nothing_counted, ALL, 1 },
	{ "only dirty", scene_only_dirty, ALL, 1 },
	{ "block missing", block_missing, ALL, 1 },
	{ "block is the L1 table", block_is_the_l1_table, ALL, 1 },
	{ "block outside the file", block_outside, ALL, 1 },
	{ "data named twice", data_named_twice, ALL, 2 },
	{ "data outside the file", data_outside, NEVER, 1 },
	{ "data is the L1 table", data_is_the_l1_table, NEVER, 1 },
};
