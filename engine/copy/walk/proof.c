/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Comparing how many bytes were found zero with how many the tables on disk leave
 * to the chain was the first proof, and was rejected: one mistake that makes
 * both wrong by as much passes it.
 */
#include "engine/copy/walk/proof.h"

#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"

int proof_begin(struct bpull_disk *disk)
{
	struct copy_walk *walk = disk->walk;
	int rc;

	range_set_init(&walk->owed, disk->engine->budget.n_ranges);
	range_set_init(&walk->todo, disk->engine->budget.n_ranges);
	rc = range_set_add(&walk->owed, 0, 1); /* any range, so that the sets have memory */
	return rc ? rc : range_set_copy(&walk->todo, &walk->owed);
}

void proof_owe_all(struct bpull_disk *disk)
{
	const struct copy_down *down = &disk->walk->down;
	uint64_t len = down->into ? down->end : disk_overlay(disk)->backed_len;

	range_set_clear(&disk->walk->owed);
	(void)range_set_add(&disk->walk->owed, 0, len); /* it has had a range */
}

void proof_end(struct bpull_disk *disk)
{
	range_set_free(&disk->walk->owed);
	range_set_free(&disk->walk->todo);
}

void proof_settle(struct bpull_disk *disk, uint64_t lo, uint64_t hi)
{
	if (disk->job.step != JOB_IDLE)
		range_set_remove(&disk->walk->owed, lo, hi);
}

bool proof_is_complete(const struct bpull_disk *disk)
{
	return range_set_is_empty(&disk->walk->owed);
}

/* Above a base that stays nothing is settled: what reads as zeros must have an entry there. */
int proof_pass_lacking(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, uint64_t *done,
		       struct table_need *need)
{
	struct extent e;

	*done = 0;
	if (disk->base_name)
		*done = len;
	for (; *done < len; *done += e.len) {
		uint64_t at = guest_off + *done;
		int rc = chain_map(disk->chain, 1, at, len - *done, &e, need);

		if (rc)
			return rc;
		if (e.kind == EXTENT_ZERO)
			proof_settle(disk, at, at + e.len);
	}
	return 0;
}
