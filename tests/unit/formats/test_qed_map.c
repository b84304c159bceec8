/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: mappings published in any order, on any geometry, through a cache that
 * forgets at once, are the mappings found in the image afterwards, without a
 * leaked cluster; failed copies in between lose nothing but what is known.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/qed/check.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "formats/qed/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/qed_rig.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/files/sparse_file.h"

struct geometry {
	uint32_t cluster_len, table_clusters;
};

#define N_MODEL 600 /* clusters looked at, in strips all over the disk */

enum model_kind {
	MODEL_NONE,
	MODEL_ZERO,
	MODEL_DATA,
};

struct model {
	struct qed_rig rig;
	uint64_t seed;
	uint64_t guest_off[N_MODEL];
	enum model_kind kind[N_MODEL];
};

static uint64_t guest_limit(const struct geometry *g)
{
	uint64_t n = (uint64_t)g->table_clusters * g->cluster_len / 8, len;

	if (mul_u64(n * n, g->cluster_len, &len) || len > INT64_MAX - 2 * QED_MAX_CLUSTER_LEN)
		len = round_down(INT64_MAX - 2 * QED_MAX_CLUSTER_LEN, QED_MAX_CLUSTER_LEN);
	return len;
}

/* Strips of clusters that end or begin where slices and tables do. */
static void model_init(struct model *m, const struct geometry *g, uint64_t guest_len)
{
	uint64_t n_clusters = div_round_up(guest_len, g->cluster_len), strip = 0;
	uint64_t per_slice = MIN((uint64_t)g->table_clusters * g->cluster_len, UINT64_C(32768)) / 8;

	for (size_t i = 0; i < N_MODEL; i++) {
		if (i % 40 == 0) {
			strip = round_down(rig_roll(n_clusters), per_slice);
			strip = strip >= 20 ? strip - 20 : 0;
			if (i == 40)
				strip = n_clusters - 40; /* the end of the disk */
			strip = MIN(strip, n_clusters - 40);
		}
		m->guest_off[i] = (strip + i % 40) * g->cluster_len;
	}
}

/* Only the ends of large clusters are written and compared: 4 KiB each. */
static void write_cluster(struct model *m, uint64_t host_off, uint64_t guest_off)
{
	uint64_t cluster_len = m->rig.layer->cluster_len;
	uint8_t buf[4096];

	qed_rig_pattern(buf, sizeof(buf), guest_off, m->seed);
	cr_assert_eq(file_write(m->rig.file, buf, sizeof(buf), host_off), 0);
	cr_assert_eq(file_write(m->rig.file, buf, sizeof(buf), host_off + cluster_len - 4096), 0);
}

static void expect_cluster(struct model *m, uint64_t host_off, uint64_t guest_off)
{
	uint64_t cluster_len = m->rig.layer->cluster_len;
	uint8_t want[4096], head[4096], tail[4096];

	qed_rig_pattern(want, sizeof(want), guest_off, m->seed);
	cr_assert_eq(file_read(m->rig.file, head, 4096, host_off), 0);
	cr_assert_eq(file_read(m->rig.file, tail, 4096, host_off + cluster_len - 4096), 0);
	cr_assert(!memcmp(want, head, 4096) && !memcmp(want, tail, 4096),
		  "seed %" PRIu64 ": wrong data of %#" PRIx64, m->seed, guest_off);
}

/* The same guest offset may be in two strips. */
static void model_set(struct model *m, uint64_t guest_off, enum model_kind kind)
{
	for (size_t i = 0; i < N_MODEL; i++)
		if (m->guest_off[i] == guest_off)
			m->kind[i] = kind;
}

static void model_verify(struct model *m)
{
	static const enum extent_kind kinds[] = { EXTENT_UNALLOCATED, EXTENT_ZERO, EXTENT_DATA };
	uint64_t cluster_len = m->rig.layer->cluster_len;

	for (size_t i = 0; i < N_MODEL; i++) {
		uint64_t in_cluster = rig_roll(cluster_len / 512) * 512;
		uint64_t at = m->guest_off[i] + in_cluster;
		uint64_t len = MIN(512 + rig_roll(40) * cluster_len, m->rig.layer->guest_len - at);
		struct extent e;

		if (at >= m->rig.layer->guest_len)
			continue;
		cr_assert_eq(qed_rig_map(&m->rig, at, len, &e), 0, "seed %" PRIu64, m->seed);
		cr_assert(e.guest_off == at && e.len && e.len <= len, "seed %" PRIu64, m->seed);
		/* Every cluster of the strip that the extent reaches is what it says. */
		for (size_t j = i; j < N_MODEL && j / 40 == i / 40; j++) {
			if (m->guest_off[j] >= at + e.len)
				break;
			cr_assert_eq(e.kind, kinds[m->kind[j]],
				     "seed %" PRIu64 ": %#" PRIx64 " is %d, not %d", m->seed,
				     m->guest_off[j], e.kind, kinds[m->kind[j]]);
			if (e.kind == EXTENT_DATA)
				expect_cluster(m,
					       e.host_off - in_cluster + m->guest_off[j] -
						       m->guest_off[i],
					       m->guest_off[j]);
		}
		cr_assert_eq(e.has_host, e.kind == EXTENT_DATA);
	}
}

/* Space taken, written with rubbish and given back, as by a copy that failed. */
static void reserve_in_vain(struct model *m)
{
	uint64_t cluster_len = m->rig.layer->cluster_len, host_off[4], got[4];
	size_t n = 1 + rig_roll(4);
	uint8_t junk[4096];

	memset(junk, 0xa5, sizeof(junk));
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(layer_reserve(m->rig.layer, (1 + rig_roll(5)) * cluster_len,
					   &host_off[i], &got[i]),
			     0);
		for (uint64_t at = 0; at < got[i]; at += cluster_len)
			if (rig_roll(2))
				cr_assert_eq(file_write(m->rig.file, junk, sizeof(junk),
							host_off[i] + at),
					     0);
	}
	while (n) {
		size_t i = rig_roll(n);

		layer_release(m->rig.layer, host_off[i], got[i]);
		host_off[i] = host_off[--n];
		got[i] = got[n];
	}
}

/* A run of clusters of one strip that are still empty, as one or more mappings. */
static void publish_some(struct model *m)
{
	uint64_t cluster_len = m->rig.layer->cluster_len, host_off = 0, got = 0;
	size_t first = rig_roll(N_MODEL), n = 0, n_maps = 0;
	struct mapping maps[40];

	while (first + n < N_MODEL && (first + n) / 40 == first / 40 &&
	       m->kind[first + n] == MODEL_NONE && n < 1 + rig_roll(20))
		n++;
	for (size_t i = first; i < first + n; i++) {
		bool is_zero = !got && rig_roll(3) == 0;

		if (!is_zero && !got)
			cr_assert_eq(layer_reserve(m->rig.layer, (first + n - i) * cluster_len,
						   &host_off, &got),
				     0);
		maps[n_maps++] = (struct mapping){
			.guest_off = m->guest_off[i],
			.len = cluster_len,
			.host_off = is_zero ? 0 : host_off,
			.is_zero = is_zero,
		};
		if (!is_zero) {
			write_cluster(m, host_off, m->guest_off[i]);
			host_off += cluster_len;
			got -= cluster_len;
		}
	}
	if (!n)
		return;
	cr_assert_eq(got, 0);
	cr_assert_eq(qed_rig_publish(&m->rig, maps, n_maps), 0, "seed %" PRIu64, m->seed);
	for (size_t i = 0; i < n_maps; i++)
		model_set(m, maps[i].guest_off, maps[i].is_zero ? MODEL_ZERO : MODEL_DATA);
	cr_assert_eq(qed_rig_publish(&m->rig, maps, n_maps), -EEXIST);
}

/* Clusters that this run itself knows to have lost. */
static uint64_t known_leaks(const struct qed_rig *rig)
{
	const struct qed *q = qed_of(rig->layer);
	uint64_t len = 0;

	for (unsigned i = 0; i < q->gaps.n; i++)
		len += q->gaps.list[i].len;
	if (rig->file->len > rig->layer->alloc_end)
		len += rig->file->len - rig->layer->alloc_end;
	return len >> q->cluster_bits;
}

static void run_model(struct file *file, const struct geometry *g, uint64_t seed, bool fail_some)
{
	static struct model m;
	uint64_t limit = guest_limit(g), min_len = 64 * (uint64_t)g->cluster_len;
	struct image_create how = { .cluster_len = g->cluster_len,
				    .table_clusters = g->table_clusters };
	struct check_result found = { 0 };
	struct err err = { 0 };

	rig_seed(seed);
	m = (struct model){ .seed = seed };
	how.guest_len = round_down(min_len + rig_roll(limit - min_len), 512);
	model_init(&m, g, how.guest_len);
	qed_rig_create(&m.rig, file, &how);
	for (int n = 0; n < 40; n++) {
		if (fail_some && rig_roll(3) == 0)
			reserve_in_vain(&m);
		publish_some(&m);
		if (rig_roll(4) == 0)
			qed_rig_commit(&m.rig);
		if (rig_roll(8) == 0)
			model_verify(&m);
	}
	qed_rig_commit(&m.rig);
	model_verify(&m);
	uint64_t leaks = known_leaks(&m.rig);
	qed_rig_close(&m.rig);

	cr_assert_eq(qed_rig_open(&m.rig, file, &err), 0, "%s", err.message);
	model_verify(&m);
	cr_assert_eq(qed_check(m.rig.layer, &found, &err), 0);
	cr_assert_eq(found.n_errors + found.n_check_errors, 0, "seed %" PRIu64, seed);
	if (!file->is_block) {
		/* A failed write may leave a part of a cluster behind the end in use. */
		cr_assert(fail_some || file->len % g->cluster_len == 0, "seed %" PRIu64, seed);
		cr_assert_eq(found.n_leaks, leaks, "seed %" PRIu64 ": %" PRIu64 " not %" PRIu64,
			     seed, found.n_leaks, leaks);
		cr_assert(fail_some || !leaks, "seed %" PRIu64, seed);
	}
	qed_rig_close(&m.rig);
	file_close(file);
}

static const struct geometry geometries[] = {
	{ 4096, 1 },     { 4096, 2 },     { 4096, 16 },     { 8192, 4 },
	{ 65536, 1 },    { 65536, 4 },    { 65536, 16 },    { 2 * MiB, 1 },
	{ 2 * MiB, 16 }, { 64 * MiB, 1 }, { 64 * MiB, 16 },
};

Test(qed_map, published_mappings_are_found_again)
{
	for (uint64_t seed = 1; seed <= 88; seed++)
		run_model(sparse_file_new("model.qed", 0),
			  &geometries[seed % ARRAY_LEN(geometries)], seed, false);
}

Test(qed_map, space_given_back_is_used_and_never_trusted)
{
	for (uint64_t seed = 1001; seed <= 1088; seed++)
		run_model(sparse_file_new("model.qed", 0),
			  &geometries[seed % ARRAY_LEN(geometries)], seed, true);
}

/* A device is full of old bytes, which look like table entries. */
Test(qed_map, devices_keep_no_old_bytes_in_tables)
{
	static const struct geometry small[] = {
		{ 4096, 1 }, { 4096, 2 }, { 4096, 16 }, { 8192, 8 }
	};

	for (uint64_t seed = 2001; seed <= 2016; seed++) {
		struct file *file = mem_file_new("device", 24 * MiB);

		file->is_block = true;
		for (uint64_t off = 0; off < file->len; off += 8)
			put_le64(mem_file_inode(file)->bytes + off, 65536);
		run_model(file, &small[seed % ARRAY_LEN(small)], seed, seed % 2);
	}
}

/* A new table of 1 GiB costs two sectors and the L1 entry. */
Test(qed_map, huge_tables_are_not_written_whole)
{
	struct file *file = sparse_file_new("huge.qed", 0);
	const struct image_create how = { .guest_len = UINT64_C(1) << 60,
					  .cluster_len = 64 * MiB,
					  .table_clusters = 16 };
	const struct mapping map = { .guest_off = UINT64_C(1) << 55,
				     .len = 128 * MiB,
				     .is_zero = true };
	struct qed_rig rig;
	struct extent e;

	qed_rig_create(&rig, file, &how);
	uint64_t before = sparse_file_written(file);
	cr_assert_eq(qed_rig_publish(&rig, &map, 1), 0);
	qed_rig_commit(&rig);
	cr_assert_eq(sparse_file_written(file) - before, 3 * 512);
	cr_assert_eq(file->len, 64 * MiB + 2 * GiB);
	cr_assert_eq(qed_rig_map(&rig, map.guest_off - 512, 512 + map.len, &e), 0);
	cr_assert(e.kind == EXTENT_UNALLOCATED && e.len == 512);
	cr_assert_eq(qed_rig_map(&rig, map.guest_off, 1 * GiB, &e), 0);
	cr_assert(e.kind == EXTENT_ZERO && e.len == map.len);
	/* A hole does not look further than it is asked. */
	cr_assert_eq(qed_rig_map(&rig, 0, 1 * GiB, &e), 0);
	cr_assert(e.kind == EXTENT_UNALLOCATED && e.len == 1 * GiB);
	qed_rig_close(&rig);
	file_close(file);
}
