/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A walk of what a pull would copy, as its cursor would take it, but before it begins: measure.c
 * counts space by it, damage.c looks for what would end the pull half way.
 */
#include "engine/job/ahead/plan_walk.h"

#include <errno.h>

#include "engine/core/disk.h"
#include "engine/job/round.h"
#include "formats/core/layer.h"
#include "formats/core/layer_tables.h"
#include "io/base.h"

struct plan_walk plan_walk_of(const struct bpull_disk *disk)
{
	return (struct plan_walk){ .chain = disk->chain,
				   .cache = disk->engine->cache,
				   .engine = disk->engine };
}

int plan_walk_load_table(struct plan_walk *w, struct table_need *need)
{
	int rc = table_load_now(w->cache, need);

	if (rc != -EALREADY || !w->engine)
		return rc;
	engine_wait_round(w->engine, UINT64_MAX); /* another operation is loading it */
	return 0;
}

int plan_walk_count_tables(struct plan_walk *w, uint64_t guest_off, uint64_t end)
{
	struct layer *overlay = w->chain->layers[0];

	for (uint64_t at = MAX(guest_off, w->table_end_off); at < end; at = w->table_end_off) {
		uint64_t table_end;
		bool has;
		int rc;

		PLAN_WALK_NOW(w, rc, layer_has_table(overlay, at, &has, &table_end, &need));
		if (rc)
			return rc;
		w->n_tables += !has;
		w->table_end_off = table_end;
	}
	return 0;
}

int plan_walk_run(struct plan_walk *w,
		  int (*visit)(struct plan_walk *w, enum plan_action action, uint64_t guest_off,
			       uint64_t limit, uint64_t *end))
{
	uint64_t backed_len = w->chain->layers[0]->backed_len, end;

	for (uint64_t at = 0; at < backed_len; at = end) {
		enum plan_action action;
		uint64_t len;
		int rc;

		PLAN_WALK_NOW(w, rc, plan_next(w->chain, at, backed_len, &action, &len, &need));
		end = at + len;
		if (!rc)
			rc = visit(w, action, at, at + len, &end);
		if (rc)
			return rc;
	}
	return 0;
}
