/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * New guest requests. Submitting returns nothing: what is wrong with a request is
 * told by its event. So there must be memory for that event: if there is none,
 * submitting waits for memory. A reserve of requests was rejected: it is empty
 * when it is needed.
 */
#include "engine/guest/submit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/blockpull.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/core/ranges/iov.h"
#include "engine/guest/admit.h"
#include "engine/guest/grow.h"
#include "engine/guest/guest.h"
#include "engine/guest/hold.h"
#include "engine/guest/request.h"
#include "io/base.h"
#include "io/fifo.h"

#define OUT_OF_MEMORY_NAP_NS 1000000

/* malloc(), because glibc's per-thread cache does not serve calloc(). */
static void *guest_alloc(size_t len)
{
	void *g;

	while (!(g = malloc(len)))
		nanosleep(&(struct timespec){ .tv_nsec = OUT_OF_MEMORY_NAP_NS }, NULL);
	return g;
}

static void init_guest(struct guest *g, struct bpull_disk *disk, enum guest_kind kind)
{
	op_init(&g->op, &guest_op_kind, disk->engine, disk);
	g->op.urgent = true;
	g->kind = kind;
}

static struct guest *begin_guest(struct guest *g, struct bpull_disk *disk, enum guest_kind kind)
{
	*g = (struct guest){ 0 };
	init_guest(g, disk, kind);
	return g;
}

static struct guest *new_guest(struct bpull_disk *disk, enum guest_kind kind)
{
	return begin_guest(guest_alloc(sizeof(struct guest)), disk, kind);
}

static int refusal(const struct guest *g)
{
	const struct bpull_disk *disk = g->op.disk;
	uint32_t known = g->kind == GUEST_ZEROES  ? BPULL_IO_FUA | BPULL_IO_UNMAP
			 : g->kind == GUEST_WRITE ? BPULL_IO_FUA
						  : 0;

	if (!(disk->flags & BPULL_DISK_GUEST_IO) || g->flags & ~known)
		return -EINVAL;
	if (disk->guests.rest != DISK_ACTIVE)
		return -EPERM;
	if (!disk_has_range(disk, g->guest_off, g->len))
		return -EINVAL;
	if (guest_changes_disk(g) && disk->flags & BPULL_DISK_READ_ONLY)
		return -EROFS;
	return guest_changes_disk(g) && disk->poisoned ? -EIO : 0;
}

void guest_let_in(struct guest *g)
{
	g->at = g->guest_off;
	g->overlay = disk_overlay(g->op.disk);
	guest_list_add(g);
	op_set_error(&g->op, refusal(g), NULL, 0, false);
	if (g->op.error)
		g->began_ns = 0;
	guest_admit(g);
}

void guest_submit(struct guest *g)
{
	struct guests *all = &g->op.disk->guests;

	g->began_ns = engine_now_ns();
	if (guest_is_held(g->op.disk, guest_changes_disk(g))) {
		FIFO_APPEND(&all->hold, g, room.next);
		return;
	}
	guest_let_in(g);
	engine_rerun(g->op.engine);
}

void guest_end_now(struct bpull_disk *disk, void *user_data)
{
	struct guest *g = guest_alloc(sizeof(*g));

	/* Only what guest_take_events() reads. */
	g->op.disk = disk;
	g->op.error = 0;
	g->user_data = user_data;
	g->status.n = 0;
	g->list.next = NULL;
	guest_queue_event(disk->engine, g);
	if (disk->engine->loop.fd_asked)
		engine_rerun(disk->engine);
}

/* A read or a write. Copies iov. */
static struct guest *new_transfer(struct bpull_disk *disk, enum guest_kind kind,
				  const struct iovec *iov, int n_iov, uint64_t guest_off)
{
	struct guest *g = new_guest(disk, kind);

	g->guest_off = guest_off;
	if (!iov_is_sound(iov, n_iov)) {
		op_set_error(&g->op, -EINVAL, NULL, 0, false);
		return g;
	}
	g->len = iov_len(iov, n_iov);
	g->n_iov = n_iov;
	g->iov = n_iov <= GUEST_FEW_IOVS ? g->writes.asked : malloc(n_iov * sizeof(*iov));
	if (!g->iov)
		op_set_error(&g->op, -ENOMEM, NULL, 0, false);
	else if (n_iov)
		memcpy(g->iov, iov, n_iov * sizeof(*iov));
	return g;
}

struct guest *guest_new_read(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			     uint64_t guest_off)
{
	return new_transfer(disk, GUEST_READ, iov, n_iov, guest_off);
}

struct guest *guest_new_write(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			      uint64_t guest_off, uint32_t flags)
{
	struct guest *g = new_transfer(disk, GUEST_WRITE, iov, n_iov, guest_off);

	g->flags = flags;
	return g;
}

struct guest *guest_new_range(struct bpull_disk *disk, enum guest_kind kind, uint64_t guest_off,
			      uint64_t len, uint32_t flags)
{
	struct guest *g = new_guest(disk, kind);

	g->guest_off = guest_off;
	g->len = len;
	g->flags = flags;
	return g;
}

struct guest *guest_new_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			       struct bpull_extent *extents, int max)
{
	struct guest *g = guest_new_range(disk, GUEST_STATUS, guest_off, len, 0);

	g->status.extents = extents;
	g->status.max = max;
	if (max <= 0 || !extents)
		op_set_error(&g->op, -EINVAL, NULL, 0, false);
	return g;
}

struct guest *guest_new_inner(struct bpull_disk *disk, enum guest_kind kind, void *buf,
			      uint64_t len, uint64_t guest_off)
{
	struct guest *g = malloc(sizeof(*g));

	if (!g)
		return NULL;
	begin_guest(g, disk, kind);
	g->guest_off = guest_off;
	g->len = len;
	if (kind != GUEST_WRITE) {
		g->flags = BPULL_IO_UNMAP;
		return g;
	}
	g->n_iov = 1;
	g->iov = calloc(2, sizeof(*g->iov));
	if (!g->iov) {
		free(g);
		return NULL;
	}
	g->iov[0] = (struct iovec){ buf, len };
	return g;
}

struct guest *guest_new_grow(struct bpull_disk *disk, uint64_t guest_len)
{
	struct guest_grow *grow = malloc(sizeof(*grow));

	if (!grow)
		return NULL;
	*grow = (struct guest_grow){ .new_len = guest_len };
	init_guest(&grow->g, disk, GUEST_GROW_DISK);
	disk->guests.is_growing = true;
	return &grow->g;
}
