/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the phases of a copy run share: its lock, the space it has reserved, the
 * entries it is going to make, and how all of that is given back when it fails.
 */
#include "engine/copy/run_state.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/copy/proof.h"
#include "engine/copy/walk.h"
#include "engine/copy/window.h"
#include "engine/core/disk.h"
#include "engine/core/load.h"
#include "engine/core/op.h"
#include "engine/core/range_lock.h"
#include "engine/core/zero.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"

/* Appends to an array of mappings; one that goes on where the last one ends makes that one
 * longer. */
static int append(struct mapping **list, size_t *n, size_t *cap, const struct mapping *map)
{
	struct mapping *last = *n ? &(*list)[*n - 1] : NULL;

	if (last && !last->comp_len && !map->comp_len && last->copy == map->copy &&
	    last->for_snapshots == map->for_snapshots && last->is_zero == map->is_zero &&
	    last->guest_off + last->len == map->guest_off &&
	    (map->is_zero || last->host_off + last->len == map->host_off)) {
		last->len += map->len;
		return 0;
	}
	if (array_reserve(list, *n, 1, cap, sizeof(**list)))
		return -ENOMEM;
	(*list)[(*n)++] = *map;
	return 0;
}

int copy_run_add_map(struct copy_run *p, const struct mapping *map)
{
	return append(&p->maps, &p->n_maps, &p->maps_cap, map);
}

int copy_run_add_zero(struct copy_run *p, uint64_t guest_off, uint64_t len)
{
	return copy_run_add_map(
		p, &(struct mapping){ .guest_off = guest_off, .len = len, .is_zero = true });
}

bool copy_run_keeps_zeros(const struct copy_run *p)
{
	return p->op.disk->base_name;
}

bool copy_run_is_data(const struct copy_run *p, const uint8_t *bytes, uint32_t len)
{
	if (copy_run_keeps_zeros(p) && !disk_overlay(p->op.disk)->has_zero_entries)
		return true;
	return !zero_is(bytes, len);
}

/* Space that the run has reserved for this copy of guest_off's cluster, or NULL. */
static const struct mapping *find_space(const struct copy_run *p, uint64_t guest_off, unsigned copy)
{
	for (size_t i = p->n_spaces; i-- > 0;) {
		const struct mapping *space = &p->spaces[i];

		if (space->copy == copy && guest_off - space->guest_off < space->len)
			return space;
	}
	return NULL;
}

/* Whole clusters for one copy of [guest_off, guest_off + len). */
static int reserve_space(struct copy_run *p, uint64_t guest_off, uint64_t len, unsigned copy)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	uint64_t end = round_up(guest_off + len, overlay->cluster_len);
	struct mapping space = { .guest_off = round_down(guest_off, overlay->cluster_len),
				 .copy = copy };
	int rc = overlay->ops->reserve(overlay, end - space.guest_off, &space.host_off, &space.len);

	if (rc)
		return rc;
	rc = append(&p->spaces, &p->n_spaces, &p->spaces_cap, &space);
	if (rc)
		overlay->ops->release(overlay, space.host_off, space.len);
	return rc;
}

/* Where one copy of [guest_off, guest_off + *len) goes; *len may get shorter. -ENOENT: no such copy
 * is needed. */
static int place_copy(struct copy_run *p, uint64_t guest_off, uint64_t *len, unsigned copy,
		      struct mapping *map)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	const struct mapping *space;
	struct destination to = { .len = *len };
	int rc = copy ? -ENOENT : 0;

	if (overlay->ops->copy_target)
		rc = overlay->ops->copy_target(overlay, guest_off, *len, copy, &to, &p->need);
	if (rc)
		return rc;
	*len = to.len;
	if (!to.has_space) {
		space = find_space(p, guest_off, copy);
		rc = space ? 0 : reserve_space(p, guest_off, *len, copy);
		if (rc)
			return rc;
		space = find_space(p, guest_off, copy);
		to.host_off = space->host_off + (guest_off - space->guest_off);
		*len = MIN(*len, space->guest_off + space->len - guest_off);
	}
	*map = (struct mapping){
		.guest_off = guest_off,
		.len = *len,
		.host_off = to.host_off,
		.copy = copy,
		.for_snapshots = to.for_snapshots,
	};
	return 0;
}

/* All copies of as much of [guest_off, guest_off + len) as lies together in each: *len. What was
 * reserved and is too long for the others stays the run's, for what comes next. */
static int place(struct copy_run *p, uint64_t guest_off, uint64_t *len)
{
	struct mapping map = { 0 }, last;
	unsigned n_copies = 0;
	size_t n_maps;
	int rc;

	while ((rc = place_copy(p, guest_off, len, n_copies, &map)) == 0)
		n_copies++;
	if (rc != -ENOENT || !n_copies)
		return rc;
	/* All or none: what has to wait for a table is asked for again as a whole. */
	n_maps = p->n_maps;
	last = n_maps ? p->maps[n_maps - 1] : map;
	rc = 0;
	for (unsigned copy = 0; !rc && copy < n_copies; copy++) {
		rc = place_copy(p, guest_off, len, copy, &map);
		if (!rc)
			rc = append(&p->maps, &p->n_maps, &p->maps_cap, &map);
	}
	if (!rc)
		return 0;
	p->n_maps = n_maps;
	if (n_maps)
		p->maps[n_maps - 1] = last;
	return rc;
}

int copy_run_reserve(struct copy_run *p, uint32_t off, uint32_t len)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	int rc = overlay->ops->alloc_tables(overlay, p->guest_off + off, len, &p->need);

	while (!rc && len) {
		uint64_t got = len;

		rc = place(p, p->guest_off + off, &got);
		if (rc)
			break;
		off += got;
		len -= got;
		/* What is placed stays so when the rest must wait. */
		p->reserved_to = off;
	}
	return rc;
}

uint64_t copy_run_guest_bytes(const struct copy_run *p, uint64_t off, uint64_t len)
{
	uint64_t backed_len = disk_overlay(p->op.disk)->backed_len, at = p->guest_off + off;

	return at >= backed_len ? 0 : MIN(len, backed_len - at);
}

int copy_run_leave_zeros(struct copy_run *p, uint32_t off, uint32_t len)
{
	uint64_t lo = p->guest_off + off;
	int rc = 0;

	if (copy_run_keeps_zeros(p))
		rc = copy_run_add_zero(p, lo, len);
	else
		proof_settle(p->op.disk, lo, lo + len);
	if (!rc)
		p->zero_len += copy_run_guest_bytes(p, off, len);
	return rc;
}

enum step copy_run_retry_later(struct copy_run *p, int rc)
{
	if (rc == TABLE_NEED)
		return op_wait_table(&p->op, &p->need);
	/* A stalled commit waits for the runs itself. */
	if (rc == -EAGAIN && commit_is_stalled(p->op.disk))
		rc = commit_stall_error(p->op.disk);
	if (rc == -EAGAIN && commit_is_running(p->op.disk)) {
		commit_wait(p->op.disk, &p->op);
		return STEP_WAIT;
	}
	op_set_error(&p->op, rc, disk_overlay(p->op.disk)->file, 0, false);
	return STEP_NEXT;
}

void copy_run_granted(void *owner)
{
	op_ready(owner);
}

uint64_t copy_run_guest_off(const struct copy_run *run)
{
	return run->guest_off;
}

uint64_t copy_run_lock_len(const struct copy_run *p)
{
	return round_up(p->guest_off + p->len, disk_overlay(p->op.disk)->cluster_len) -
	       p->lock.guest_off;
}

struct run_list *copy_run_runs_of(const struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;

	return p->on_read ? &disk->guests.runs_on_read : &disk->walk->runs;
}

enum copy_run_phase copy_run_after_read(const struct copy_run *p)
{
	return p->compress ? COPY_RUN_COMPRESS : COPY_RUN_WRITE;
}

void copy_run_free_requests(struct copy_run *p)
{
	copy_run_free_clones(p);
	free(p->reqs);
	free(p->decodes);
	free(p->comp_buf);
	p->op.engine->comp_len -= p->comp_held;
	p->reqs = NULL;
	p->decodes = NULL;
	p->comp_buf = NULL;
	p->comp_held = 0;
}

void copy_run_put_back(struct copy_run *p, uint64_t from)
{
	if (p->on_read || from >= p->taken_end)
		return;
	cursor_put_back(p->op.disk, from, p->taken_end);
	p->taken_end = from;
}

/* Space of the run that nothing refers to: on a full disk the tables of what was copied need it. A
 * poisoned disk is not touched any more (I7). */
static void give_up(struct copy_run *p, uint64_t host_off, uint64_t len)
{
	struct bpull_disk *disk = p->op.disk;

	disk->walk->abandoned_end = MAX(disk->walk->abandoned_end, host_off + len);
	if (!disk->poisoned)
		file_discard(disk_overlay(disk)->file, host_off, len);
}

/* Compressed clusters that lie behind each other as one: only whole pages are freed. There is no
 * way to give their space back to the format. */
static void give_up_compressed(struct copy_run *p)
{
	for (size_t i = 0, end; i < p->n_maps; i = end) {
		uint64_t len = p->maps[i].comp_len;

		for (end = i + 1; len && end < p->n_maps && p->maps[end].comp_len; end++) {
			if (p->maps[end].host_off != p->maps[i].host_off + len)
				break;
			len += p->maps[end].comp_len;
		}
		if (len)
			give_up(p, p->maps[i].host_off, len);
	}
}

void copy_run_discard_data(const struct copy_run *p)
{
	struct file *data = disk_overlay(p->op.disk)->data;

	for (size_t i = 0; i < p->n_maps; i++) {
		const struct mapping *map = &p->maps[i];

		if (!map->is_zero)
			file_discard(data, map->host_off,
				     disk_write_len(p->op.disk, map->host_off, map->len));
	}
}

void copy_run_give_up_space(struct copy_run *p)
{
	struct layer *overlay = disk_overlay(p->op.disk);

	/* The latest first, so that the end of the file can fall back. */
	give_up_compressed(p);
	while (p->n_spaces) {
		const struct mapping *space = &p->spaces[--p->n_spaces];

		give_up(p, space->host_off, space->len);
		overlay->ops->release(overlay, space->host_off, space->len);
	}
}

void copy_run_unlock(struct copy_run *p)
{
	range_lock_release(&p->op.disk->locks, &p->lock, copy_run_granted);
	p->locked = false;
}

void copy_run_mapped(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	struct copy_walk *walk = disk->walk;

	if (p->piece_off)
		return;
	copy_run_put_back(p, p->guest_off + p->len);
	if (walk->mapping == p) {
		walk->mapping = NULL;
		cursor_kick(disk); /* all that has room begins in one round */
	}
	range_lock_shrink(&disk->locks, &p->lock, copy_run_lock_len(p), copy_run_granted);
}

void copy_run_free_clones(struct copy_run *p)
{
	free(p->clones);
	p->clones = NULL;
}
