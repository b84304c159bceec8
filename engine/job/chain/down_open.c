/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a commit into a lower layer begins: what forbids it, and the node of that layer. */
#include "engine/job/chain/down_open.h"

#include <errno.h>

#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"
#include "engine/guest/inner.h"
#include "engine/job/chain/node.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_resize.h"
#include "io/err.h"
#include "io/file.h"

static struct layer *layer_at(const struct bpull_disk *disk, unsigned i)
{
	return disk->chain->layers[i];
}

/* A snapshot inside an image reads through it to the base, as it was when it was taken. */
static int refuse_snapshots(const struct bpull_disk *disk, unsigned from, unsigned to,
			    struct err *err)
{
	for (unsigned i = from; i < to; i++) {
		struct layer_info info;
		struct shown shown;

		layer_describe(layer_at(disk, i), &info);
		if (info.n_snapshots)
			return err_set(err, -ENOTSUP,
				       "%s: it has internal snapshots (%u), which read through to "
				       "the file that would be changed; nothing was changed: "
				       "delete them (qemu-img snapshot -d), or pull it first",
				       file_show(layer_at(disk, i)->file, &shown),
				       info.n_snapshots);
	}
	return 0;
}

/* The guest's disk would become longer at the end. */
static int refuse_longer(const struct bpull_disk *disk, unsigned from, unsigned to, struct err *err)
{
	const struct layer *lower = layer_at(disk, to);
	struct shown shown;

	if (from || lower->guest_len <= disk_overlay(disk)->guest_len)
		return 0;
	return err_set(err, -EINVAL,
		       "%s: its disk is longer than that of the image above it, which would become "
		       "longer; nothing was changed: make that one longer first (blockpull resize)",
		       file_show(lower->file, &shown));
}

/* How far the upper layers say what is read, and how long layer `to` must be for it. */
static uint64_t down_end_of(const struct bpull_disk *disk, unsigned from, unsigned to)
{
	/* A snapshot inside the image may be longer than the image, and reads through it, too. */
	uint64_t len = from ? disk_overlay(disk)->backed_len : disk_overlay(disk)->guest_len;
	uint64_t upper_len = layer_at(disk, from)->guest_len;

	return MIN(len, MAX(layer_at(disk, to)->guest_len, upper_len));
}

int down_refuse(const struct bpull_disk *disk, unsigned from, unsigned to, struct err *err)
{
	uint64_t end = down_end_of(disk, from, to);
	int rc = refuse_snapshots(disk, from, to, err);

	if (!rc)
		rc = refuse_longer(disk, from, to, err);
	if (!rc && end > layer_at(disk, to)->guest_len)
		rc = layer_may_grow(layer_at(disk, to), end, err);
	return rc;
}

static int open_node(struct bpull_disk *disk, unsigned to, struct bpull_disk **out, struct err *err)
{
	struct bpull_disk *node = node_new(disk_opened(disk), disk->nodes.depth + to);
	int rc;

	if (!node)
		return err_set(err, -ENOMEM, "out of memory");
	rc = node_open(node, err);
	if (rc) {
		node_free(node);
		return rc;
	}
	*out = node;
	return 0;
}

int down_open(struct bpull_disk *disk, unsigned from, unsigned to, struct err *err)
{
	struct copy_down *down = &disk->walk->down;
	uint64_t end = down_end_of(disk, from, to);
	struct bpull_disk *into = NULL;
	int rc = down_refuse(disk, from, to, err);

	if (!rc)
		rc = open_node(disk, to, &into, err);
	if (rc)
		return rc;
	*down = (struct copy_down){
		.into = into, .ops = &inner_ops, .from = from, .to = to, .end = end
	};
	range_set_init(&down->written, disk->engine->budget.n_ranges);
	rc = range_set_add(&down->written, 0, 1); /* any: for the memory */
	range_set_clear(&down->written);
	if (!rc)
		return 0;
	down_close(disk);
	return err_set(err, rc, "out of memory");
}

void down_close(struct bpull_disk *disk)
{
	struct copy_down *down = &disk->walk->down;

	node_close(down->into);
	range_set_free(&down->written);
	*down = (struct copy_down){ 0 };
}
