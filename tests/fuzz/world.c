/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/fuzz/world.h"

#include <errno.h>
#include <stdio.h>
#include <xxhash.h>

#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer_check.h"
#include "io/base.h"
#include "io/file/path_policy.h"

struct sim *fuzz_world(const uint8_t *top, size_t len)
{
	struct sim *sim = sim_new(1);
	uint8_t *base = sim_need(calloc(1, FUZZ_BASE_LEN));
	uint64_t state = 7;

	for (size_t at = 0; at < FUZZ_BASE_LEN; at += 8) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		if (at / 4096 % 3) /* some of it zeros */
			memcpy(base + at, &state, 8);
	}
	sim_file_put(sim, FUZZ_TOP, top, len);
	sim_file_put(sim, FUZZ_BASE, base, FUZZ_BASE_LEN);
	free(base);
	return sim;
}

uint64_t fuzz_file_hash(const struct sim *sim, const char *name)
{
	uint64_t len = sim_file_len(sim, name), hash;
	uint8_t *bytes;

	if (len > 4 * MiB) /* a file that is mostly hole */
		return len;
	bytes = sim_need(malloc(len + 1));
	sim_file_peek(sim, name, bytes, len, 0);
	hash = XXH3_64bits_withSeed(bytes, len, len);
	free(bytes);
	return hash;
}

static int read_disk(struct chain *chain, uint8_t *out)
{
	struct extent e;
	int rc = 0;

	for (uint64_t off = 0; !rc && off < chain->layers[0]->guest_len; off += e.len)
		rc = sim_pull_read_extent(chain, off, out + off, &e);
	return rc;
}

static void look_at(struct chain *chain, struct fuzz_look *look)
{
	struct layer *top = chain->layers[0];
	struct check_result result = { .max_reports = 10 };
	struct layer_info info = { 0 };
	struct err err = { 0 };

	layer_describe(top, &info);
	look->is_dirty = info.dirty;
	look->guest_len = top->guest_len;
	look->has_backing = top->has_backing;
	look->check_rc = layer_can_check(top) ? layer_check(top, &result, &err) : 0;
	look->n_errors = result.n_errors - result.n_stale + result.n_check_errors;
	look->n_stale = result.n_stale;
	look->n_leaks = result.n_leaks;
	look->read_rc = -EFBIG;
	if (look->guest_len <= FUZZ_DISK_MAX) {
		uint8_t *bytes = sim_need(malloc(look->guest_len + 1));

		look->read_rc = read_disk(chain, bytes);
		look->content = look->read_rc ? 0 : XXH3_64bits(bytes, look->guest_len);
		free(bytes);
	}
}

void fuzz_look(struct sim *sim, enum image_format format, bool no_backing, struct fuzz_look *look)
{
	struct table_cache *cache = sim_need(table_cache_new(256 * KiB));
	struct layer_set *set = sim_need(layer_set_new(sim_opener(sim), cache));
	struct path_policy any = { .rule = PATH_RULE_ANY };
	struct chain_open how = {
		.name = FUZZ_TOP,
		.format = format,
		.backing_format = IMAGE_RAW,
		.no_backing = no_backing,
		.policy = &any,
	};
	struct err err = { 0 };
	struct chain *chain;

	*look = (struct fuzz_look){ 0 };
	look->rc = chain_open(set, &how, &chain, &err);
	if (!look->rc) {
		look_at(chain, look);
		chain_close(chain, NULL, NULL);
	} else {
		FUZZ_CHECK(err.message[0], "refused without a word");
		memcpy(look->text, err.message, sizeof(look->text) - 1);
	}
	layer_set_free(set);
	table_cache_free(cache);
}
