/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The order in the file: header, L1, then L2 tables and data clusters as they
 * come or shuffled, compressed bytes packed without gaps, free space if asked
 * for, refcount blocks and last the refcount table. References are counted
 * where something is placed and written out as refcounts at the end.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/support/images/builder.h"

#define MAX_IMAGE_LEN (512u << 20)

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void build_put_be(uint8_t *at, unsigned n_bytes, uint64_t v)
{
	for (unsigned i = 0; i < n_bytes; i++)
		at[i] = v >> (8 * (n_bytes - 1 - i));
}

uint64_t build_get64(const struct build_image *image, uint64_t host_off)
{
	uint64_t v = 0;

	assert(host_off + 8 <= image->len);
	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | image->bytes[host_off + i];
	return v;
}

void build_put64(struct build_image *image, uint64_t host_off, uint64_t v)
{
	assert(host_off + 8 <= image->len);
	build_put_be(image->bytes + host_off, 8, v);
}

void build_fill(uint8_t *buf, size_t len, uint32_t seed)
{
	uint64_t state = seed, words[16];

	for (unsigned i = 0; i < 16; i++)
		words[i] = next_random(&state);
	for (size_t at = 0; at < len; at += 8)
		memcpy(buf + at, &words[next_random(&state) % 16], len - at < 8 ? len - at : 8);
}

void build_expect(const struct build_how *how, uint64_t guest_idx, uint8_t *buf)
{
	size_t len = (size_t)1 << (how->cluster_bits ? how->cluster_bits : 16);

	memset(buf, 0, len);
	for (size_t i = 0; i < how->n_clusters; i++) {
		const struct build_cluster *c = &how->clusters[i];

		if (c->guest_idx == guest_idx &&
		    (c->kind == BUILD_DATA || c->kind == BUILD_COMPRESSED))
			build_fill(buf, len, c->seed);
	}
}

static void set_room(struct builder *b, size_t n_host)
{
	b->image.bytes = realloc(b->image.bytes, n_host << b->cluster_bits);
	b->refs = realloc(b->refs, n_host * sizeof(*b->refs));
	assert(b->image.bytes && b->refs);
	b->cap_host = n_host;
}

/* Room for host clusters up to n_host; what is new is zeros. It doubles: a sanitizer's realloc()
 * copies all bytes each time. */
static void grow(struct builder *b, size_t n_host)
{
	size_t len = n_host << b->cluster_bits;

	if (n_host <= b->n_host)
		return;
	assert(len <= MAX_IMAGE_LEN);
	if (n_host > b->cap_host)
		set_room(b, n_host > 2 * b->cap_host ? n_host : 2 * b->cap_host);
	memset(b->image.bytes + b->image.len, 0, len - b->image.len);
	memset(b->refs + b->n_host, 0, (n_host - b->n_host) * sizeof(*b->refs));
	b->image.len = len;
	b->n_host = n_host;
}

/* n clusters at the end, referenced once; their offset. */
uint64_t build_append(struct builder *b, size_t n)
{
	size_t at = b->n_host;

	grow(b, at + n);
	for (size_t i = 0; i < n; i++)
		b->refs[at + i] = 1;
	return (uint64_t)at << b->cluster_bits;
}

static uint64_t take_slot(struct builder *b)
{
	uint64_t at = b->slots[b->next_slot++];

	grow(b, at + 1);
	assert(!b->refs[at]);
	b->refs[at] = 1;
	return at << b->cluster_bits;
}

static bool has_cluster(enum build_kind kind)
{
	return kind == BUILD_DATA || kind == BUILD_ZERO_ALLOC;
}

/* As many slots as could be needed, behind what is there; shuffled only among those taken. */
static void make_slots(struct builder *b)
{
	size_t n = 0, first = b->n_host;
	uint64_t state = b->how->shuffle_seed;
	uint8_t *has_l2 = calloc(1, b->l1_size + 1);

	for (size_t i = 0; i < b->how->n_clusters; i++) {
		const struct build_cluster *c = &b->how->clusters[i];
		uint64_t l1_idx = c->guest_idx / b->l2_entries;

		assert(l1_idx < b->l1_size);
		n += has_cluster(c->kind) + !has_l2[l1_idx];
		has_l2[l1_idx] = 1;
	}
	free(has_l2);
	b->slots = malloc((n + 1) * sizeof(*b->slots));
	for (size_t i = 0; i < n; i++)
		b->slots[i] = first + i;
	for (size_t i = n; state && i > 1; i--) {
		size_t other = next_random(&state) % i;
		uint64_t slot = b->slots[other];

		b->slots[other] = b->slots[i - 1];
		b->slots[i - 1] = slot;
	}
}

static void put_entry(struct builder *b, uint64_t guest_idx, uint64_t entry)
{
	uint64_t l1_at = b->image.l1_off + 8 * (guest_idx / b->l2_entries);
	uint64_t at;

	if (!build_get64(&b->image, l1_at)) {
		uint64_t l2_off = take_slot(b);

		build_put64(&b->image, l1_at, l2_off | UINT64_C(1) << 63);
	}
	at = build_l2_entry_off(&b->image, guest_idx);
	assert(!build_get64(&b->image, at));
	build_put64(&b->image, at, entry);
}

static void put_plain(struct builder *b, const struct build_cluster *c)
{
	uint64_t entry = c->kind == BUILD_ZERO_PLAIN || c->kind == BUILD_ZERO_ALLOC;

	assert(!entry || b->version == 3);
	if (has_cluster(c->kind)) {
		uint64_t off = take_slot(b);

		build_fill(b->image.bytes + off, b->cluster_len, c->seed);
		entry |= off | UINT64_C(1) << 63;
	}
	put_entry(b, c->guest_idx, entry);
}

/* Raw deflate with the window of 4 KiB that readers are entitled to. The compressor is kept: its
 * 270 KB, new for each cluster, took a sanitizer's build longer than compressing. */
static size_t deflate_cluster(const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
	static z_stream stream;
	int rc = stream.state ? deflateReset(&stream)
			      : deflateInit2(&stream, 6, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);

	assert(rc == Z_OK);
	stream.next_in = (uint8_t *)in;
	stream.avail_in = len;
	stream.next_out = out;
	stream.avail_out = cap;
	rc = deflate(&stream, Z_FINISH);
	assert(rc == Z_STREAM_END);
	return stream.total_out;
}

static size_t zstd_cluster(const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
	static ZSTD_CCtx *zstd; /* kept, as the other */

	if (!zstd)
		zstd = ZSTD_createCCtx();
	assert(zstd);
	return ZSTD_compressCCtx(zstd, out, cap, in, len, 3);
}

/* The byte offset where the packed data goes on; *at moves behind it. */
static void put_compressed(struct builder *b, const struct build_cluster *c, uint64_t *at)
{
	uint8_t *plain = malloc(b->cluster_len), *packed = malloc(2 * b->cluster_len + 64);
	unsigned x = 62 - (b->cluster_bits - 8);
	uint64_t first_sector, last_sector;
	size_t len;

	assert(plain && packed);
	build_fill(plain, b->cluster_len, c->seed);
	len = (b->how->zstd ? zstd_cluster : deflate_cluster)(plain, b->cluster_len, packed,
							      2 * b->cluster_len + 64);
	assert(len && len < b->cluster_len);
	first_sector = *at / 512;
	last_sector = (*at + len - 1) / 512;
	/* The sectors said to be in use are, even where the last cluster would end before. */
	grow(b, (last_sector * 512 >> b->cluster_bits) + 1);
	memcpy(b->image.bytes + *at, packed, len);
	for (uint64_t i = *at >> b->cluster_bits; i <= last_sector * 512 >> b->cluster_bits; i++)
		b->refs[i]++;
	put_entry(b, c->guest_idx, UINT64_C(1) << 62 | (last_sector - first_sector) << x | *at);
	*at += len;
	free(plain);
	free(packed);
}

static void put_clusters(struct builder *b)
{
	uint64_t at;

	make_slots(b);
	for (size_t i = 0; i < b->how->n_clusters; i++)
		if (b->how->clusters[i].kind == BUILD_COMPRESSED)
			put_entry(b, b->how->clusters[i].guest_idx, 0);
		else
			put_plain(b, &b->how->clusters[i]);
	/* Every slot is taken by now: compressed bytes go behind them. */
	at = (uint64_t)b->n_host << b->cluster_bits;
	for (size_t i = 0; i < b->how->n_clusters; i++)
		if (b->how->clusters[i].kind == BUILD_COMPRESSED)
			put_compressed(b, &b->how->clusters[i], &at);
}

static void put_refcount(struct builder *b, uint8_t *block, size_t idx, uint32_t v)
{
	unsigned bits = b->refcount_bits;

	assert(bits >= 32 || v < UINT64_C(1) << bits);
	if (bits >= 8)
		build_put_be(block + idx * (bits / 8), bits / 8, v);
	else
		block[idx * bits / 8] |= v << (idx * bits % 8);
}

/* Refcount blocks and table for all, themselves included, by trying until it fits. */
static void put_refcounts(struct builder *b)
{
	size_t per_block = b->cluster_len * 8 / b->refcount_bits, per_table = b->cluster_len / 8;
	size_t n_blocks = 1, n_table = 1, total;

	if (b->how->n_clusters_left) {
		total = per_table * per_block - b->how->n_clusters_left;
		n_blocks = (total + per_block - 1) / per_block;
		assert(b->n_host + n_blocks + 1 <= total);
		grow(b, total - n_blocks - 1);
	}
	for (;;) {
		total = b->n_host + n_blocks + n_table;
		if (n_blocks * per_block >= total && n_table * per_table >= n_blocks)
			break;
		n_blocks += n_blocks * per_block < total;
		n_table += n_table * per_table < n_blocks;
	}
	b->image.refblock_off = build_append(b, n_blocks);
	b->image.reftable_off = build_append(b, n_table);
	for (size_t i = 0; i < b->n_host; i++)
		put_refcount(
			b, b->image.bytes + b->image.refblock_off + i / per_block * b->cluster_len,
			i % per_block, b->refs[i]);
	for (size_t i = 0; i < n_blocks; i++)
		build_put64(&b->image, b->image.reftable_off + 8 * i,
			    b->image.refblock_off + i * b->cluster_len);
	build_put_be(b->image.bytes + 48, 8, b->image.reftable_off);
	build_put_be(b->image.bytes + 56, 4, n_table);
}

static size_t put_ext(struct builder *b, size_t at, uint32_t type, const void *data, uint32_t len)
{
	assert(at + 8 + len + 7 <= b->cluster_len);
	build_put_be(b->image.bytes + at, 4, type);
	build_put_be(b->image.bytes + at + 4, 4, len);
	if (len)
		memcpy(b->image.bytes + at + 8, data, len);
	return at + 8 + (len + 7) / 8 * 8;
}

static void put_strings(struct builder *b, size_t at)
{
	const struct build_how *how = b->how;

	if (how->backing_format)
		at = put_ext(b, at, 0xe2792aca, how->backing_format, strlen(how->backing_format));
	for (size_t i = 0; i < how->n_exts; i++)
		at = put_ext(b, at, how->exts[i].type, how->exts[i].data, how->exts[i].len);
	at += 8; /* the end marker */
	if (!how->backing_name)
		return;
	assert(at + strlen(how->backing_name) <= b->cluster_len);
	memcpy(b->image.bytes + at, how->backing_name, strlen(how->backing_name));
	build_put_be(b->image.bytes + 8, 8, at);
	build_put_be(b->image.bytes + 16, 4, strlen(how->backing_name));
}

static void put_header(struct builder *b)
{
	const struct build_how *how = b->how;
	uint32_t header_len = how->header_len ? how->header_len : 112;
	uint8_t *h = b->image.bytes;

	build_put_be(h, 4, 0x514649fb);
	build_put_be(h + 4, 4, b->version);
	build_put_be(h + 20, 4, b->cluster_bits);
	build_put_be(h + 24, 8, how->guest_len);
	build_put_be(h + 36, 4, b->l1_size);
	build_put_be(h + 40, 8, b->image.l1_off);
	if (b->version == 2) {
		assert(b->refcount_bits == 16 && !how->zstd && !how->header_len);
		put_strings(b, 72);
		return;
	}
	build_put_be(h + 72, 8, how->incompat | (how->zstd ? 1u << 3 : 0));
	build_put_be(h + 80, 8, how->compat);
	build_put_be(h + 88, 8, how->autoclear);
	build_put_be(h + 96, 4, __builtin_ctz(b->refcount_bits));
	build_put_be(h + 100, 4, header_len);
	if (header_len > 104)
		h[104] = how->zstd;
	if (header_len > 112)
		memset(h + 112, 0xa5, header_len - 112);
	put_strings(b, header_len);
}

struct build_image build_image(const struct build_how *how)
{
	struct builder b = {
		.how = how,
		.version = how->version ? how->version : 3,
		.cluster_bits = how->cluster_bits ? how->cluster_bits : 16,
		.refcount_bits = how->refcount_bits ? how->refcount_bits : 16,
	};
	uint64_t span;

	b.image.cluster_bits = b.cluster_bits;
	b.cluster_len = (size_t)1 << b.cluster_bits;
	b.l2_entries = b.cluster_len / 8;
	span = b.l2_entries * b.cluster_len;
	b.l1_size = (how->guest_len + span - 1) / span + how->n_extra_l1;
	build_append(&b, 1);
	b.image.l1_off = build_append(&b, (b.l1_size * 8 + b.cluster_len - 1) / b.cluster_len);
	b.image.whole_l1_off = b.image.l1_off;
	put_clusters(&b);
	put_header(&b);
	if (how->n_snapshots) {
		uint64_t table_off = build_snapshots(&b);

		build_put_be(b.image.bytes + 60, 4, how->n_snapshots);
		build_put_be(b.image.bytes + 64, 8, table_off);
	}
	if (how->shrunk_len)
		build_put_be(b.image.bytes + 24, 8, how->shrunk_len);
	put_refcounts(&b);
	set_room(&b, b.n_host); /* no byte more, for the sanitizer */
	free(b.refs);
	free(b.slots);
	return b.image;
}

void build_image_free(struct build_image *image)
{
	free(image->bytes);
	*image = (struct build_image){ 0 };
}

uint64_t build_l2_entry_off(const struct build_image *image, uint64_t guest_idx)
{
	uint64_t l2_entries = (UINT64_C(1) << image->cluster_bits) / 8;
	uint64_t l2_off = build_get64(image, image->l1_off + 8 * (guest_idx / l2_entries)) &
			  UINT64_C(0x00fffffffffffe00);

	assert(l2_off);
	return l2_off + 8 * (guest_idx % l2_entries);
}
