/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * check --repair on an image of any bytes: it ends; what a guest reads stays what it
 * was; what it says is left is what a check finds afterwards. The first byte chooses
 * the format and how much is repaired.
 */
#include <stdio.h>

#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer_check.h"
#include "io/base.h"
#include "tests/fuzz/world.h"

static int repair(struct sim *sim, enum image_format format, struct repair *r)
{
	struct table_cache *cache = sim_need(table_cache_new(256 * KiB));
	struct layer_set *set = sim_need(layer_set_new(sim_opener(sim), cache));
	struct chain_open how = { .name = FUZZ_TOP,
				  .format = format,
				  .write = true,
				  .for_repair = true,
				  .no_backing = true };
	struct err err = { 0 };
	struct chain *chain;
	int rc = chain_open(set, &how, &chain, &err);

	if (!rc) {
		struct layer *top = chain->layers[0];

		rc = layer_can_check(top) ? layer_repair(top, r, &err) : 0;
		FUZZ_CHECK(!rc || err.message[0], "failed without a word");
		chain_close(chain, NULL, NULL);
	}
	layer_set_free(set);
	table_cache_free(cache);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum image_format format = size && data[0] & 1 ? IMAGE_QED : IMAGE_QCOW2;
	struct repair r = { .all = size && data[0] & 2 };
	struct fuzz_look before, after;
	struct sim *sim;
	int rc;

	if (!size)
		return 0;
	sim = fuzz_world(data + 1, size - 1);
	fuzz_look(sim, format, true, &before);
	rc = repair(sim, format, &r);
	if (!before.rc) {
		fuzz_look(sim, format, true, &after);
		FUZZ_CHECK(!after.rc, "it does not open any more: %s", after.text);
		FUZZ_CHECK(before.read_rc || (!after.read_rc && after.content == before.content),
			   "the content has changed");
		FUZZ_CHECK(rc || after.n_errors + after.n_stale ==
					   r.left.n_errors + r.left.n_check_errors,
			   "%llu errors are left, not %llu",
			   (unsigned long long)(after.n_errors + after.n_stale),
			   (unsigned long long)r.left.n_errors);
		FUZZ_CHECK(rc || after.n_leaks == r.left.n_leaks, "%llu leaks are left, not %llu",
			   (unsigned long long)after.n_leaks, (unsigned long long)r.left.n_leaks);
	}
	sim_free(sim);
	return 0;
}
