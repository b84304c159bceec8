/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Bugs that the plays of heads must find (heads.h), put in from outside. */
#include "engine/core/disk.h"
#include "engine/copy/down.h"
#include "engine/copy/walk/walk.h"
#include "io/base.h"
#include "io/file/opener.h"
#include "tests/machine/files/sim_private.h"
#include "tests/whole/heads/heads.h"

static int (*open_locked)(struct file_opener *opener, const struct file_open *how,
			  struct file **out, struct err *err);

static int open_unlocked(struct file_opener *opener, const struct file_open *how, struct file **out,
			 struct err *err)
{
	struct file_open without = *how;

	if (how->lock == FILE_LOCK_SHARED)
		without.lock = FILE_LOCK_NONE;
	return open_locked(opener, &without, out, err);
}

void heads_plant_locks(struct heads *all)
{
	struct file_opener *opener = sim_opener(all->machine.sim);

	if (all->how.planted != HEADS_UNLOCKED)
		return;
	open_locked = opener->open;
	opener->open = open_unlocked;
}

static const struct down_ops *sound_ops;

static void zero_one(struct bpull_disk *into, struct op *op, uint64_t guest_off, uint64_t len)
{
	sound_ops->zero(into, op, guest_off, 1);
}

/* The disk that copies down: the head's, or a node of it. */
static struct copy_down *down_of(const struct heads_head *h)
{
	struct bpull_disk *working = h->guest.disk->nodes.working;

	return &(working ? working : h->guest.disk)->walk->down;
}

void heads_plant_job(struct heads *all, const struct heads_head *h)
{
	static struct down_ops lossy;
	struct copy_down *down;

	if (h->job.kind != HEADS_COMMIT)
		return;
	if (all->how.planted == HEADS_UNSYNCED)
		all->machine.unsynced = all->images[h->job.base].name;
	if (all->how.planted != HEADS_LOST_ZEROS)
		return;
	down = down_of(h);
	sound_ops = down->ops;
	lossy = *down->ops;
	lossy.zero = zero_one;
	down->ops = &lossy;
}

bool heads_plant_keep(const struct heads *all, const struct heads_head *h,
		      const struct heads_job *job)
{
	return all->how.planted == HEADS_UNEMPTIED && job->kind == HEADS_COMMIT &&
	       job->top == h->top && job->linker == HEADS_NONE;
}
