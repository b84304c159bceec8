/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Space of a run that nothing refers to: on a full disk the tables of what was copied need it.
 * First it is punched out of the file, which waits for the file system and so is a worker's; the
 * run holds its lock until then, so that no guest has written there. Then the format may hand it
 * out again. A poisoned disk is not touched any more (I7).
 */
#include "engine/copy/phases/give_up.h"

#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"
#include "io/file.h"
#include "io/io.h"

/* How many bytes the compressed clusters from map *i on take that lie behind each other: they are
 * discarded as one, since only whole pages are freed. Moves *i behind them. 0: map *i is not
 * compressed. */
static uint64_t compressed_len(const struct copy_run *p, size_t *i)
{
	uint64_t end_off = p->space.maps[*i].host_off, len = 0;

	while (*i < p->space.n_maps && p->space.maps[*i].comp_len &&
	       p->space.maps[*i].host_off == end_off + len)
		len += p->space.maps[(*i)++].comp_len;
	*i += !len;
	return len;
}

static void discard_compressed(const struct copy_run *p)
{
	for (size_t i = 0; i < p->space.n_maps;) {
		uint64_t host_off = p->space.maps[i].host_off, len = compressed_len(p, &i);

		if (len)
			file_discard(p->overlay->file, host_off, len);
	}
}

static void discard_spaces(const struct copy_run *p)
{
	for (size_t i = p->space.n_spaces; i; i--)
		file_discard(p->overlay->file, p->space.spaces[i - 1].host_off,
			     p->space.spaces[i - 1].len);
}

/* Punches out what the run has written to a data file, where nothing is reserved. */
static void discard_data(const struct copy_run *p)
{
	struct file *data = p->overlay->data;

	for (size_t i = 0; i < p->space.n_maps; i++) {
		const struct mapping *map = &p->space.maps[i];

		if (!map->is_zero)
			file_discard(data, map->host_off,
				     disk_write_len(p->op.disk, map->host_off, map->len));
	}
}

static int discard_run_work(struct io_req *req)
{
	const struct copy_run *p = req->owner;

	discard_compressed(p);
	discard_spaces(p);
	if (p->give_up.failed.error && disk_has_data_file(p->op.disk))
		discard_data(p);
	return 0;
}

enum step run_give_up_discard(struct copy_run *p)
{
	if (p->op.disk->poisoned || (!p->space.n_maps && !p->space.n_spaces))
		return STEP_NEXT;
	io_req_work(&p->give_up.discard, discard_run_work);
	op_submit(&p->op, &p->give_up.discard);
	return STEP_WAIT;
}

static void note_abandoned(struct copy_run *p, uint64_t host_off, uint64_t len)
{
	p->walk->abandoned_end = MAX(p->walk->abandoned_end, host_off + len);
}

/* Gives the latest space back first, so that the format's alloc_end can fall back. The space of
 * compressed clusters can't be given back. */
void run_give_up_space(struct copy_run *p)
{
	struct layer *overlay = p->overlay;

	for (size_t i = 0; i < p->space.n_maps; i++)
		if (p->space.maps[i].comp_len)
			note_abandoned(p, p->space.maps[i].host_off, p->space.maps[i].comp_len);
	while (p->space.n_spaces) {
		const struct mapping *space = &p->space.spaces[--p->space.n_spaces];

		note_abandoned(p, space->host_off, space->len);
		layer_release(overlay, space->host_off, space->len);
	}
}
