/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A chain without an engine, for images at rest. Blocking, with a small table cache and no ring.
 * Opening an engine only to read a header was rejected.
 */
#include "engine/api/images/offline_chain.h"

#include <errno.h>

#include "engine/api/options/options.h"
#include "engine/api/options/told.h"
#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"
#include "io/posix/opener.h"

#define INSPECT_CACHE_LEN (16 * MiB)

void offline_chain_close(struct offline_chain *look)
{
	if (look->chain)
		chain_close(look->chain, NULL, NULL);
	if (look->layers)
		layer_set_free(look->layers);
	if (look->cache)
		table_cache_free(look->cache);
}

int offline_chain_open(struct offline_chain *look, const char *path,
		       const struct bpull_disk_options *o, enum look_at at, struct err *err)
{
	struct path_policy policy = { 0 };
	struct chain_open how = options_chain(o, path, &policy);
	int rc;

	*look = (struct offline_chain){ .cache = table_cache_new(INSPECT_CACHE_LEN) };
	look->layers = look->cache ? layer_set_new(file_opener_posix(), look->cache) : NULL;
	if (!look->layers) {
		offline_chain_close(look);
		return err_set(err, -ENOMEM, "out of memory");
	}
	how.allow_unreadable = at == LOOK_AT_HEADERS;
	how.write = how.for_repair = at == LOOK_FOR_REPAIR;
	rc = policy_build(o, path, &policy, err);
	if (!rc) {
		rc = told_open_chain(look->layers, o, &how, &look->chain, err);
		policy_free(&policy);
	}
	if (rc)
		offline_chain_close(look);
	return rc;
}
