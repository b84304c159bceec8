/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A qcow2 image in which every second cluster has data: the worst that a walk
 * can meet, as no two neighbours are one extent. Its tables are in the cache, so
 * no time here is the disk's; nothing is committed, and the file has no name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/micro/micro.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/create.h"
#include "formats/qcow2/open.h"
#include "formats/qcow2/space/refcount.h"
#include "io/base.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"

#define GUEST_LEN   (UINT64_C(16) << 30)
#define CLUSTER_LEN 65536u
#define N_CLUSTERS  (GUEST_LEN / CLUSTER_LEN)
#define CACHE_LEN   (64u << 20)
#define LOOKUP_LEN  4096u
#define RUN_LEN     16u /* clusters of one megabyte */

static struct table_cache *cache;
static struct file *file;
static struct layer *layer;
static uint64_t rng = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t draw(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % below;
}

/* Until the call needs no further table. */
#define LOADING(call)                                                    \
	({                                                               \
		struct table_need need;                                  \
		int loading_rc;                                          \
		while ((loading_rc = (call)) == TABLE_NEED)              \
			if ((loading_rc = table_load_now(cache, &need))) \
				break;                                   \
		loading_rc;                                              \
	})

/* Gives n_clusters at guest_off space and entries, as a copy run does. */
static int publish(uint64_t guest_off, uint64_t n_clusters)
{
	struct mapping map = { .guest_off = guest_off, .len = n_clusters * CLUSTER_LEN };
	uint64_t got;
	int rc = LOADING(layer_alloc_tables(layer, guest_off, map.len, &need));

	if (!rc)
		rc = layer_reserve(layer, map.len, &map.host_off, &got);
	if (!rc && got < map.len)
		rc = -ENOSPC;
	return rc ? rc : LOADING(layer_publish(layer, &map, 1, &need));
}

static int make_image(const char *dir)
{
	struct file_opener *opener = file_opener_posix();
	struct image_create how = { .guest_len = GUEST_LEN };
	struct err err = { 0 };
	char where[4096], name[4200];
	int rc;

	if (snprintf(where, sizeof(where), "%s/blockpull-micro.XXXXXX", dir) >= (int)sizeof(where))
		return -ENAMETOOLONG;
	if (!mkdtemp(where))
		return -errno;
	snprintf(name, sizeof(name), "%s/image", where);
	rc = opener->create(opener, name, &file, &err);
	unlink(name);
	rmdir(where);
	return rc ? rc : qcow2_create(file, &how, &err);
}

int micro_tables_open(const char *dir)
{
	struct err err = { 0 };
	int rc = make_image(dir);

	cache = table_cache_new(CACHE_LEN);
	if (!rc && !cache)
		rc = -ENOMEM;
	if (!rc)
		rc = qcow2_open(file, cache, &layer, &err);
	if (!rc)
		rc = layer_begin_writing(layer, &err);

	for (uint64_t i = 0; i < N_CLUSTERS && !rc; i += 2)
		rc = publish(i * CLUSTER_LEN, 1);
	return rc;
}

void micro_tables_close(void)
{
	if (cache && file)
		table_cache_forget(cache, file);
	layer_close(layer);
	table_cache_free(cache);
	if (file)
		file->ops->close(file);
}

static int map_random(uint64_t n)
{
	struct extent e;
	int rc = 0;

	while (n-- && !rc) {
		uint64_t off = draw(GUEST_LEN / LOOKUP_LEN) * LOOKUP_LEN;

		rc = LOADING(layer_map(layer, off, LOOKUP_LEN, &e, &need));
	}
	return rc;
}

/* As the cursor goes: the longest extent from here on. */
static int map_walk(uint64_t n)
{
	uint64_t off = 0;
	struct extent e;
	int rc = 0;

	while (n-- && !rc) {
		rc = LOADING(layer_map(layer, off, GUEST_LEN - off, &e, &need));
		off = rc || off + e.len >= GUEST_LEN ? 0 : off + e.len;
	}
	return rc;
}

/* Counts of clusters behind everything in use, raised and lowered again. */
static int refcount_run(uint64_t n)
{
	struct qcow2 *q = (struct qcow2 *)layer;
	uint64_t first_idx = (layer->alloc_end + CLUSTER_LEN - 1) / CLUSTER_LEN;
	uint64_t block_end = (first_idx | 0x7fff) + 1; /* of one block: 32768 counts of 16 bits */
	int rc = 0;

	for (uint64_t idx = first_idx, value = 1; n-- && !rc; idx += RUN_LEN) {
		if (idx + RUN_LEN > block_end) {
			idx = first_idx;
			value = !value;
		}
		rc = LOADING(qcow2_ref_need(q, idx * CLUSTER_LEN, RUN_LEN * CLUSTER_LEN, &need));
		if (!rc)
			qcow2_ref_set(q, idx, RUN_LEN, value);
	}
	return rc;
}

const struct micro micro_tables[] = {
	{ "map-random", "lookups", 1, map_random },
	{ "map-walk", "extents", 1, map_walk },
	{ "refcount-run", "clusters", RUN_LEN, refcount_run },
};
const unsigned n_micro_tables = ARRAY_LEN(micro_tables);
