/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See sim_pull_judge.h. The judge maps with chain_map() and reads with blocking
 * calls, one extent at a time. A second pull into nothing would be another
 * way to read, but it would share the engine with what is judged.
 */
#include "tests/machine/sim_pull_judge.h"

#include <stdarg.h>
#include <stdio.h>

#include "formats/chain/layer_set.h"
#include "formats/chain/map.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_compress.h"
#include "io/base.h"
#include "io/file/path_policy.h"
#include "tests/machine/files/sim_private.h"

void sim_verdict_wrong(struct sim_verdict *v, const char *format, ...)
{
	va_list args;

	v->ok = false;
	va_start(args, format);
	vsnprintf(v->text, sizeof(v->text), format, args);
	va_end(args);
}

static int read_extent(struct chain *chain, const struct extent *e, uint8_t *out)
{
	struct layer *layer = e->depth < chain->n_layers ? chain->layers[e->depth] : NULL;
	uint8_t *in, *cluster;
	int rc;

	if (e->kind == EXTENT_ZERO)
		memset(out, 0, e->len);
	if (e->kind == EXTENT_ZERO)
		return 0;
	if (e->kind == EXTENT_DATA)
		return file_read_padded(layer->data, out, e->len, e->host_off);
	in = sim_need(malloc(e->host_len));
	cluster = sim_need(malloc(layer->cluster_len));
	rc = file_read_padded(layer->file, in, e->host_len, e->host_off);
	if (!rc)
		rc = layer_decode(layer, in, e->host_len, cluster);
	if (!rc)
		memcpy(out, cluster + e->skip, e->len);
	free(in);
	free(cluster);
	return rc;
}

static int map_now(struct chain *chain, uint64_t off, uint64_t len, struct extent *e)
{
	struct table_need need;
	int rc;

	while ((rc = chain_map(chain, 0, off, len, e, &need)) == TABLE_NEED) {
		rc = table_load_now(layer_set_cache(chain->set), &need);
		if (rc)
			break;
	}
	return rc;
}

int sim_pull_read_extent(struct chain *chain, uint64_t off, uint8_t *out, struct extent *e)
{
	uint64_t left = chain->layers[0]->guest_len - off;
	int rc = map_now(chain, off, left, e);

	if (rc)
		return rc;
	if (!e->len || e->len > left)
		abort();
	return read_extent(chain, e, out);
}

/* What an entry of the overlay leads to lies inside its file, or another program calls it
 * damaged. */
static bool is_behind_the_end(const struct chain *chain, const struct extent *e)
{
	const struct layer *overlay = chain->layers[0];

	return !e->depth && e->kind == EXTENT_DATA && layer_format(overlay) != IMAGE_RAW &&
	       e->host_off + e->len > overlay->data->len;
}

/* got: room for the disk; want->want is compared with it where `compare`. */
static void read_contents(const struct sim_chain *want, struct chain *chain, uint8_t *got,
			  bool compare, struct sim_verdict *v)
{
	struct extent e;

	if (chain->layers[0]->guest_len != want->guest_len) {
		sim_verdict_wrong(v, "the disk has another length");
		return;
	}
	for (uint64_t off = 0; v->ok && off < want->guest_len; off += e.len) {
		int rc = sim_pull_read_extent(chain, off, got + off, &e);

		if (rc)
			sim_verdict_wrong(
				v, "guest offset %#llx can't be read (layer %u, kind %d): %s",
				(unsigned long long)off, e.depth, (int)e.kind, strerror(-rc));
		else if (is_behind_the_end(chain, &e))
			sim_verdict_wrong(
				v, "guest offset %#llx leads behind the file's end, to %#llx",
				(unsigned long long)off, (unsigned long long)e.host_off);
		else if (e.depth && e.kind != EXTENT_ZERO)
			v->n_owed += e.len;
		if (!rc && compare && memcmp(got + off, want->want + off, e.len))
			sim_verdict_wrong(
				v,
				"guest data between %#llx and %#llx is not what it was; it comes "
				"from "
				"layer %u, host offset %#llx, kind %d",
				(unsigned long long)off, (unsigned long long)(off + e.len), e.depth,
				(unsigned long long)e.host_off, (int)e.kind);
	}
}

static void first_report(void *opaque, bool is_leak, const char *text)
{
	struct sim_verdict *v = opaque;

	if (!v->text[0] || !is_leak)
		snprintf(v->text, sizeof(v->text), "check: %s", text);
}

static void judge_check(struct layer *layer, struct sim_verdict *v)
{
	struct check_result result = {
		.report = first_report,
		.opaque = v,
		.max_reports = 1000,
	};
	struct err err = { 0 };
	int rc = layer_check(layer, &result, &err);

	v->n_leaks = result.n_leaks;
	v->n_compressed = result.n_compressed_clusters;
	if (rc)
		sim_verdict_wrong(v, "check failed: %s", err.message);
	else if (result.n_errors || result.n_check_errors)
		v->ok = false;
}

/* Not the one to the new base, whose name is relative like the old one. */
static bool has_old_link(const struct sim_chain *want, const struct layer *overlay)
{
	const char *base = sim_chain_base(want);

	return overlay->has_backing && !(base && !strcmp(overlay->backing.name, base + 1));
}

/* An image that is judged. */
struct judged {
	const char *name;
	enum image_format format;
	bool any_below; /* below QED, which does not record it, lies any format */
	bool unchecked; /* for a moment it is no whole image */
};

static struct chain *open_for_judging(const struct sim_chain *want, const struct judged *head,
				      struct layer_set *set, struct sim_verdict *v)
{
	struct path_policy any = { .rule = PATH_RULE_ANY };
	struct chain_open how = {
		.name = head->name,
		.format = head->format,
		.backing_format = head->any_below ? IMAGE_UNKNOWN : want->unnamed,
		.trust_formats = head->any_below || !want->unnamed,
		.policy = &any,
	};
	struct err err = { 0 };
	struct chain *chain;

	if (!chain_open(set, &how, &chain, &err))
		return chain;
	sim_verdict_wrong(v, "it does not open: %s", err.message);
	return NULL;
}

/* Checks the image, but for one that is unchecked, and reads the disk, as read_contents(). */
static void check_and_read(const struct sim_chain *want, const struct judged *head, struct sim *sim,
			   uint8_t *got, bool compare, struct sim_verdict *v)
{
	struct table_cache *cache = sim_need(table_cache_new(256 * KiB));
	struct layer_set *set = sim_need(layer_set_new(sim_opener(sim), cache));
	struct chain *chain;

	*v = (struct sim_verdict){ .ok = true };
	chain = open_for_judging(want, head, set, v);
	if (chain) {
		v->has_backing = has_old_link(want, chain->layers[0]);
		if (!head->unchecked)
			judge_check(chain->layers[0], v);
		if (v->ok)
			read_contents(want, chain, got, compare, v);
		chain_close(chain, NULL, NULL);
	}
	layer_set_free(set);
	table_cache_free(cache);
}

enum {
	DISK_LEN_OFF = 24,
	L1_SIZE_OFF = 36,
	SNAPSHOTS_OFF = 64,
	SNAPSHOT_LEN = 72 /* of the table's entries, as build_snapshots.c makes them */
};

/* What of a header says which disk it is. */
struct disk_words {
	uint8_t l1[12], len[8];
};

static struct disk_words words_of(const struct sim *sim, const char *name)
{
	struct disk_words w;

	sim_file_peek(sim, name, w.l1, sizeof(w.l1), L1_SIZE_OFF);
	sim_file_peek(sim, name, w.len, sizeof(w.len), DISK_LEN_OFF);
	return w;
}

static void put_words(struct sim *sim, const char *name, const struct disk_words *w)
{
	sim_file_poke(sim, name, w->l1, sizeof(w->l1), L1_SIZE_OFF);
	sim_file_poke(sim, name, w->len, sizeof(w->len), DISK_LEN_OFF);
}

/* Of snapshot i. */
static struct disk_words snapshot_words(const struct sim *sim, const char *name, unsigned i,
					uint64_t len)
{
	struct disk_words w;
	uint8_t table[8], entry[12];

	sim_file_peek(sim, name, table, sizeof(table), SNAPSHOTS_OFF);
	sim_file_peek(sim, name, entry, sizeof(entry), be64(table) + i * SNAPSHOT_LEN);
	memcpy(w.l1, entry + 8, 4);
	memcpy(w.l1 + 4, entry, 8);
	put_be64(w.len, len);
	return w;
}

/* As if it were the disk: the header names its L1 table and length for a moment. */
static void read_snapshot(const struct sim_chain *want, const struct judged *head, struct sim *sim,
			  unsigned i, uint8_t *got, bool compare, struct sim_verdict *v)
{
	struct disk_words was = words_of(sim, head->name);
	struct disk_words is = snapshot_words(sim, head->name, i, want->guest_len);
	struct judged as_is = *head;
	struct sim_verdict as_disk;

	as_is.unchecked = true;
	put_words(sim, head->name, &is);
	check_and_read(want, &as_is, sim, got, compare, &as_disk);
	put_words(sim, head->name, &was);
	if (!as_disk.ok)
		sim_verdict_wrong(v, "snapshot %u: %s", i + 1, as_disk.text);
}

void sim_pull_read_snapshot(const struct sim_chain *chain, struct sim *sim, const char *name,
			    unsigned i, uint8_t *out, struct sim_verdict *v)
{
	struct judged head = { name, IMAGE_QCOW2, true };

	*v = (struct sim_verdict){ .ok = true };
	read_snapshot(chain, &head, sim, i, out, false, v);
}

static void judge_snapshot(const struct sim_chain *chain, struct sim *sim, unsigned i,
			   struct sim_verdict *v)
{
	struct judged top = { SIM_CHAIN_TOP, chain->how.format };
	struct sim_chain longer = *chain;
	uint8_t *got = sim_need(malloc(chain->snapshot_len));

	longer.guest_len = chain->snapshot_len;
	read_snapshot(&longer, &top, sim, i, got, true, v);
	free(got);
}

void sim_pull_read(const struct sim_chain *chain, struct sim *sim, uint8_t *out,
		   struct sim_verdict *v)
{
	struct judged top = { SIM_CHAIN_TOP, chain->how.format };

	check_and_read(chain, &top, sim, out, false, v);
}

void sim_pull_read_head(const struct sim_chain *chain, struct sim *sim, const char *name,
			enum image_format format, uint8_t *out, struct sim_verdict *v)
{
	struct judged head = { name, format, true };

	check_and_read(chain, &head, sim, out, false, v);
}

void sim_pull_judge(const struct sim_chain *chain, struct sim *sim, struct sim_verdict *v)
{
	struct judged top = { SIM_CHAIN_TOP, chain->how.format };
	uint8_t *got = sim_need(malloc(chain->guest_len));

	check_and_read(chain, &top, sim, got, true, v);
	free(got);
	if (v->ok)
		sim_pull_judge_snapshots(chain, sim, v);
}

void sim_pull_judge_snapshots(const struct sim_chain *chain, struct sim *sim, struct sim_verdict *v)
{
	v->ok = true;
	for (unsigned i = 0; v->ok && i < chain->how.n_snapshots; i++)
		judge_snapshot(chain, sim, i, v);
}

static uint64_t hash_file(const struct sim_store *store)
{
	uint64_t h = store->len;

	for (size_t i = 0; i < store->n_slots; i++) {
		const uint8_t *bytes = store->slots[i].page->bytes;
		uint64_t page = 0;

		for (size_t at = 0; at < SIM_PAGE_LEN; at += 8) {
			page = (page ^ le64(bytes + at)) * UINT64_C(0x9e3779b97f4a7c15);
			page ^= page >> 29;
		}
		if (page) /* all zeros: as good as a hole */
			h = sim_mix(h, sim_mix(page, store->slots[i].idx));
	}
	return h;
}

uint64_t sim_pull_hash(const struct sim_chain *chain, const struct sim *sim)
{
	uint64_t h = hash_file(&sim_file_find(sim, SIM_CHAIN_TOP)->live);

	if (chain->data.name[0])
		h = sim_mix(h, hash_file(&sim_file_find(sim, chain->data.name)->live));
	return h;
}

uint64_t sim_pull_hash_all(const struct sim *sim)
{
	uint64_t h = 0;

	for (const struct sim_file *file = sim->files; file; file = file->next)
		h = sim_mix(h, file->is_removed ? 0 : hash_file(&file->live));
	return h;
}
