/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Requests have numbers (guests.next_seq), so it is enough to remember the next one's when the
 * layers are hidden: when all before it have ended, no request uses those layers. Counting the
 * users of each layer was rejected: each read would pay for it.
 */
#include "engine/core/drop.h"

#include "engine/core/disk.h"
#include "formats/chain/hidden.h"
#include "io/base.h"

void drop_hide(struct bpull_disk *disk)
{
	const struct disk_nodes *nodes = &disk->nodes;
	struct guests *opened = &disk_opened(disk)->guests;
	unsigned to = disk->chain->pull_to;

	chain_hide(disk->chain, 1, to);
	if (nodes->of)
		chain_hide(nodes->of->chain, nodes->depth + 1, nodes->depth + to);
	disk->guests.hide_seq = disk->guests.next_seq;
	opened->hide_seq = opened->next_seq;
}

void drop_show(struct bpull_disk *disk)
{
	chain_show_all(disk->chain);
	chain_show_all(disk_opened(disk)->chain);
}

void drop_begin(struct bpull_disk *disk)
{
	disk->guests.dropping = disk_opened(disk)->guests.dropping = true;
}

static bool is_safe(const struct bpull_disk *disk)
{
	return disk->guests.oldest_seq >= disk->guests.hide_seq && !disk->guests.runs_on_read.n &&
	       !disk->n_walking;
}

bool drop_is_safe(const struct bpull_disk *disk)
{
	return is_safe(disk) && (!disk->nodes.of || is_safe(disk->nodes.of));
}

void drop_end(struct bpull_disk *disk)
{
	disk->guests.dropping = disk_opened(disk)->guests.dropping = false;
}
