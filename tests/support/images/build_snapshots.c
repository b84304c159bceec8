/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Internal snapshots for build_image.c: of the disk as it is, each with an L1
 * table of its own, and below it L2 tables in turn shared with the disk and
 * copied. What a snapshot reads is what the disk reads, or has read before it
 * was made shorter: then the disk has no entries behind its end any more.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/images/builder.h"

#define COPIED     (UINT64_C(1) << 63)
#define COMPRESSED (UINT64_C(1) << 62)
#define OFF_MASK   UINT64_C(0x00fffffffffffe00)

/* One more way leads to what the entry refers to, or (-1) one less. */
static void refer_entry(struct builder *b, uint64_t entry, int n)
{
	unsigned x = 62 - (b->cluster_bits - 8);
	uint64_t off = entry & OFF_MASK;

	if (entry & COMPRESSED) {
		uint64_t sectors = entry >> x & ((UINT64_C(1) << (b->cluster_bits - 8)) - 1);
		uint64_t end;

		off = entry & ((UINT64_C(1) << x) - 1);
		end = off / 512 * 512 + sectors * 512;
		for (uint64_t at = off >> b->cluster_bits; at <= end >> b->cluster_bits; at++)
			b->refs[at] += (uint32_t)n;
	} else if (off) {
		b->refs[off >> b->cluster_bits] += (uint32_t)n;
	}
}

/* The same of all that the table at l2_off refers to. */
static void refer(struct builder *b, uint64_t l2_off)
{
	for (uint64_t i = 0; i < b->l2_entries; i++)
		refer_entry(b, build_get64(&b->image, l2_off + 8 * i), 1);
}

/* The first cluster behind the end of the shorter disk. */
static uint64_t shrunk_end(const struct builder *b)
{
	return (b->how->shrunk_len + b->cluster_len - 1) / b->cluster_len;
}

/* The disk's table number i, at l2_off, is to lose entries: so it is the disk's own. */
static bool is_shrunk(const struct builder *b, uint64_t i, uint64_t l2_off)
{
	for (uint64_t k = 0; b->how->shrunk_len && k < b->l2_entries; k++)
		if (i * b->l2_entries + k >= shrunk_end(b) &&
		    build_get64(&b->image, l2_off + 8 * k))
			return true;
	return false;
}

static void shrink(struct builder *b)
{
	for (uint64_t i = 0; i < b->l1_size * b->l2_entries; i++) {
		uint64_t l2_off =
			build_get64(&b->image, b->image.l1_off + 8 * (i / b->l2_entries)) &
			OFF_MASK;
		uint64_t at = l2_off + 8 * (i % b->l2_entries);

		if (!l2_off || i < shrunk_end(b))
			continue;
		refer_entry(b, build_get64(&b->image, at), -1);
		build_put64(&b->image, at, 0);
	}
}

static void fix_copied(struct builder *b, uint64_t at)
{
	uint64_t entry = build_get64(&b->image, at), off = entry & OFF_MASK;

	if (off && !(entry & COMPRESSED) && b->refs[off >> b->cluster_bits] != 1)
		build_put64(&b->image, at, entry & ~COPIED);
}

static void fix_flags(struct builder *b, uint64_t l1_off)
{
	for (uint64_t i = 0; i < b->l1_size; i++) {
		uint64_t l2_off = build_get64(&b->image, l1_off + 8 * i) & OFF_MASK;

		for (uint64_t k = 0; l2_off && k < b->l2_entries; k++)
			fix_copied(b, l2_off + 8 * k);
		fix_copied(b, l1_off + 8 * i);
	}
}

static uint64_t make_l1(struct builder *b, unsigned snapshot)
{
	uint64_t l1_off = build_append(b, (b->l1_size * 8 + b->cluster_len - 1) / b->cluster_len);

	for (uint64_t i = 0; i < b->l1_size; i++) {
		uint64_t l2_off = build_get64(&b->image, b->image.l1_off + 8 * i) & OFF_MASK;

		if (!l2_off)
			continue;
		refer(b, l2_off);
		if ((i + snapshot) % 2 || is_shrunk(b, i, l2_off)) {
			uint64_t copy = build_append(b, 1);

			memcpy(b->image.bytes + copy, b->image.bytes + l2_off, b->cluster_len);
			l2_off = copy;
		} else {
			b->refs[l2_off >> b->cluster_bits]++;
		}
		build_put64(&b->image, l1_off + 8 * i, l2_off | COPIED);
	}
	return l1_off;
}

/* Returns the snapshot table's offset. */
uint64_t build_snapshots(struct builder *b)
{
	enum {
		ENTRY_LEN = 40 + 24 + 8
	};
	unsigned n = b->how->n_snapshots;
	uint64_t *l1_offs = calloc(n, sizeof(*l1_offs)), table_off;

	assert(l1_offs);
	for (unsigned i = 0; i < n; i++)
		l1_offs[i] = make_l1(b, i);
	if (b->how->shrunk_len) {
		b->image.whole_l1_off = l1_offs[0];
		shrink(b);
	}
	fix_flags(b, b->image.l1_off);
	for (unsigned i = 0; i < n; i++)
		fix_flags(b, l1_offs[i]);
	table_off = build_append(b, (n * ENTRY_LEN + b->cluster_len - 1) / b->cluster_len);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *e = b->image.bytes + table_off + i * ENTRY_LEN;

		build_put_be(e, 8, l1_offs[i]);
		build_put_be(e + 8, 4, b->l1_size);
		build_put_be(e + 12, 2, 1);
		build_put_be(e + 14, 2, 2);
		build_put_be(e + 36, 4, 24);
		build_put_be(e + 48, 8, b->how->guest_len);
		build_put_be(e + 56, 8, UINT64_MAX);
		e[64] = '1' + i;
		e[65] = 's';
		e[66] = '1' + i;
	}
	free(l1_offs);
	return table_off;
}
