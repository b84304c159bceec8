/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job's walk as a whole: what it is begun with, how often it is walked, and when it is quiet.
 */
#include "engine/copy/walk/walk.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/requests.h"
#include "engine/core/convoy.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"
#include "io/base.h"

/* Percent of the time. */
#define DEFAULT_GUEST_SHARE 25

/* If so many proofs in a row find no less owed than the one before, the image is damaged. */
#define MAX_STUCK 2

int copy_walk_open(struct bpull_disk *disk)
{
	disk->walk = calloc(1, sizeof(*disk->walk));
	return disk->walk ? 0 : -ENOMEM;
}

void copy_walk_close(struct bpull_disk *disk)
{
	if (disk->walk)
		convoy_leave(&disk->engine->convoys, &disk->walk->company.member);
	free(disk->walk);
	disk->walk = NULL;
}

void copy_walk_begin(struct bpull_disk *disk, const struct bpull_job_options *o, uint64_t now_ns)
{
	struct copy_walk *walk = disk->walk;

	convoy_leave(&disk->engine->convoys, &walk->company.member);
	/* The sets have their memory from proof_begin(), the list from copy_first_open(). */
	*walk = (struct copy_walk){
		.owed = walk->owed, .todo = walk->todo, .first = walk->first, .down = walk->down
	};
	walk->how.copy = (enum bpull_copy)o->copy;
	walk->how.compress = o->compression != BPULL_COMPRESSION_NONE;
	walk->how.compression_level = o->compression_level;
	walk->how.guest_share = o->guest_share ? o->guest_share : DEFAULT_GUEST_SHARE;
	walk->how.pays_toll = !o->guest_share;
	walk->rounds.n = 1;
	throttle_set_speed(disk, now_ns, o->bandwidth, o->burst);
	requests_set_rate(disk, now_ns, o->iops);
}

bool copy_walk_again(struct bpull_disk *disk)
{
	struct copy_rounds *rounds = &disk->walk->rounds;
	uint64_t owed_len = range_set_len(&disk->walk->owed);

	rounds->n_stuck = rounds->n > 1 && owed_len >= rounds->owed_len ? rounds->n_stuck + 1 : 0;
	rounds->owed_len = owed_len;
	if (rounds->n_stuck == MAX_STUCK)
		return false;
	rounds->n++;
	return true;
}

void copy_walk_anew(struct bpull_disk *disk)
{
	struct copy_rounds *rounds = &disk->walk->rounds;

	rounds->n++;
	rounds->n_stuck = 0;
	rounds->owed_len = UINT64_MAX;
}

bool copy_walk_is_quiet(const struct bpull_disk *disk)
{
	return !disk->walk->runs.first && !disk->walk->cursor.n_pending && !disk->n_background;
}
