/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Runs that share the source's blocks instead of copying them (FICLONERANGE:
 * XFS, btrfs), in long ranges of one layer:
 *
 *   LOCK -> MAP -> CLONE -> CLONED -> PUBLISH -> over
 *
 * For the order of writes a clone counts as a write of the run: complete before it
 * is published (I1), durable with the next barrier. It moves no bytes, so no limiter
 * is charged. Its bytes are not looked at: zeros among them stay the source's blocks.
 *
 * Only a try tells whether two files can share blocks. After the first refusal all
 * of that layer is copied, and so is everything that is not whole blocks in both files.
 * Asking fiemap, or comparing devices, was rejected: subvolumes of one btrfs are
 * two devices.
 */
#include "engine/copy/phases/clone.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/copy/phases/space.h"
#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/load.h"
#include "engine/core/op.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/io.h"

/* A file system with larger blocks refuses clones of these, and then is copied from. */
#define BLOCK_LEN UINT64_C(4096)

/* Bytes. A guest's write may have to wait for a clone of this length. */
#define CLONE_MAX_LEN (64 * MiB)

struct clone {
	struct io_req req;
	struct file *from, *to;
	uint64_t from_off, to_off, len;
	int rc;
};

static bool wants_clones(const struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);

	return disk->walk->how.copy != BPULL_COPY_READ && !disk->walk->how.compress &&
	       !verify_is_on(disk) && overlay->data->may_clone && !disk_has_data_file(disk) &&
	       !overlay->no_tables && overlay->cluster_len % BLOCK_LEN == 0;
}

int copy_run_find_clone(struct bpull_disk *disk, uint64_t guest_off, uint64_t max_len,
			struct extent *e, struct table_need *need)
{
	const struct layer *overlay = disk_overlay(disk), *layer;
	uint64_t most = MIN(CLONE_MAX_LEN, PUBLISH_MAX_GRANULES * (uint64_t)overlay->granule_len);
	int rc;

	*e = (struct extent){ 0 };
	if (!wants_clones(disk) || !is_aligned(guest_off, overlay->cluster_len))
		return 0;
	rc = chain_map(disk->chain, 1, guest_off, max_len, e, need);
	if (rc)
		return rc;
	e->len = round_down(MIN(e->len, MAX(most, (uint64_t)overlay->cluster_len)),
			    overlay->cluster_len);
	if (e->kind != EXTENT_DATA || e->depth >= disk->chain->pull_to) {
		e->len = 0;
		return 0;
	}
	layer = disk->chain->layers[e->depth];
	if (!layer->data->may_clone || e->host_off % BLOCK_LEN ||
	    layer_bits_has(&disk->walk->clone_refused, e->depth) ||
	    e->host_off + e->len > layer->data->len)
		e->len = 0;
	return 0;
}

enum step copy_run_map_clone(struct copy_run *p, enum plan_action action, uint64_t unallocated)
{
	struct bpull_disk *disk = p->op.disk;
	struct table_need need;
	struct extent e = { 0 };
	int rc = 0;

	p->phase = COPY_RUN_OVER;
	if (action == PLAN_COPY)
		rc = copy_run_find_clone(disk, p->guest_off, MIN(p->len, unallocated), &e, &need);
	if (rc == TABLE_NEED) {
		p->phase = COPY_RUN_MAP;
		return op_wait_table(&p->op, &need);
	}
	op_set_error(&p->op, rc, NULL, p->guest_off, true);
	if (rc || !e.len) /* nothing can be cloned: the cursor looks again */
		return STEP_NEXT;
	p->phase = COPY_RUN_CLONE;
	p->len = e.len;
	p->clone.depth = e.depth;
	p->clone.host_off = e.host_off;
	copy_run_mapped(p);
	return STEP_NEXT;
}

/* Runs on a worker. A refusal is no error yet: see copy_run_cloned(). */
static int clone_work(struct io_req *req)
{
	struct clone *c = (struct clone *)req;

	c->rc = file_clone(c->to, c->from, c->from_off, c->to_off, c->len);
	return 0;
}

enum step copy_run_clone(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	struct file *from = disk->chain->layers[p->clone.depth]->data;
	int rc = run_space_reserve(p, p->space.reserved_to, p->len - p->space.reserved_to);

	if (disk->poisoned) /* I7 */
		rc = disk->poisoned;
	if (rc)
		return copy_run_retry_later(p, rc);
	p->phase = COPY_RUN_CLONED;
	p->clone.reqs = calloc(p->space.n_maps, sizeof(*p->clone.reqs));
	if (!p->clone.reqs) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	for (size_t i = 0; i < p->space.n_maps; i++) {
		struct clone *c = &p->clone.reqs[i];

		io_req_work(&c->req, clone_work);
		c->from = from;
		c->to = p->overlay->data;
		c->from_off = p->clone.host_off + (p->space.maps[i].guest_off - p->guest_off);
		c->to_off = p->space.maps[i].host_off;
		c->len = p->space.maps[i].len;
		op_submit(&p->op, &c->req);
	}
	return STEP_WAIT;
}

void copy_run_free_clones(struct copy_run *p)
{
	free(p->clone.reqs);
	p->clone.reqs = NULL;
}

/* The two files can't share blocks, or not in these ranges. */
static bool is_refusal(int rc)
{
	switch (rc) {
	case -EXDEV:
	case -EOPNOTSUPP:
	case -ENOTTY:
	case -ENOSYS:
	case -EINVAL:
	case -EPERM:
	case -EACCES:
	case -ETXTBSY:
	case -EBADF: return true;
	}
	return false;
}

/* No more clones from this layer. The run gives up, and the cursor begins one that copies. */
static enum step copy_instead(struct copy_run *p)
{
	layer_bits_set(&p->walk->clone_refused, p->clone.depth);
	p->phase = COPY_RUN_GIVE_UP;
	return STEP_NEXT;
}

enum step copy_run_cloned(struct copy_run *p)
{
	for (size_t i = 0; i < p->space.n_maps; i++) {
		const struct clone *c = &p->clone.reqs[i];

		if (!c->rc)
			continue;
		if (is_refusal(c->rc) && p->walk->how.copy != BPULL_COPY_CLONE)
			return copy_instead(p);
		op_set_error(&p->op, is_refusal(c->rc) ? -ENOTSUP : c->rc, c->to, c->to_off, false);
		return STEP_NEXT;
	}
	p->counts.cloned = copy_run_guest_bytes(p, 0, p->len);
	p->phase = COPY_RUN_PUBLISH;
	return STEP_NEXT;
}
