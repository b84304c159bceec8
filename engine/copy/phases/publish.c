/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The end of a run that went well: its clusters get entries, and its bytes are counted. */
#include "engine/copy/phases/publish.h"

#include "engine/commit/batch.h"
#include "engine/copy/phases/digest.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/writeback.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"
#include "io/file.h"

/* Clones fill a batch, too, or a power cut would leak any amount of space. They count a sixteenth,
 * or barriers would take nearly all of the time. */
static uint64_t batch_len(const struct copy_run *p, const struct mapping *map)
{
	if (map->is_zero)
		return 0;
	return p->kind == RUN_CLONE ? map->len / 16 : map->len;
}

static void count_copied(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	const struct layer *overlay = p->overlay;
	struct copy_counts *counts = &p->walk->counts;
	bool is_first = p->walk->rounds.n == 1; /* a later walk reads them again */

	disk->since_opened.has_copied = true;
	for (size_t i = 0; i < p->space.n_maps; i++) {
		commit_note_published(disk, batch_len(p, &p->space.maps[i]));
		if (overlay->no_tables)
			proof_settle(disk, p->space.maps[i].guest_off,
				     p->space.maps[i].guest_off + p->space.maps[i].len);
	}
	if (p->kind == RUN_ON_READ)
		return;
	for (size_t i = 0; i < p->space.n_maps; i++)
		if (!p->space.maps[i].is_zero && p->kind != RUN_CLONE)
			writeback_note(disk, p->space.maps[i].host_off,
				       mapping_host_len(&p->space.maps[i]));
	counts->copied += p->counts.copied - p->pieces.told_len;
	counts->cloned += p->counts.cloned;
	p->pieces.told_len = 0;
	if (p->kind == RUN_ZERO && is_first)
		counts->skipped += MIN(p->len, overlay->backed_len - p->guest_off);
	if (is_first)
		counts->zero += p->counts.zero;
}

enum step copy_run_publish(struct copy_run *p)
{
	struct layer *overlay = p->overlay;
	struct file *data = overlay->data;
	int rc = p->op.disk->poisoned;

	for (size_t i = 0; i < p->space.n_maps; i++) {
		const struct mapping *map = &p->space.maps[i];

		if (map->is_zero)
			continue;
		data->len = MAX(data->len, map->host_off + disk_write_len(p->op.disk, map->host_off,
									  mapping_host_len(map)));
		disk_wrote(p->op.disk, DISK_DATA);
	}
	/* The data is written, not durable: a barrier must come before what points at it (I1). */
	if (p->space.n_maps)
		disk_wrote(p->op.disk, DISK_IMAGE);
	if (!rc)
		rc = copy_run_prepare_handing_over(p);
	if (!rc && p->space.n_maps)
		rc = layer_publish(overlay, p->space.maps, p->space.n_maps, &p->space.need);
	if (rc)
		return copy_run_retry_later(p, rc);
	copy_run_hand_over(p);
	count_copied(p);
	p->taken.is_done = true;
	p->phase = COPY_RUN_OVER;
	return STEP_NEXT;
}
