/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which run a reader may wait for: one that has read or is about to, and waits for nothing else.
 * walk/readers.c says what a reader is given.
 */
#include "engine/copy/join.h"

#include <stdlib.h>

#include "engine/copy/phases/shared_read.h"
#include "engine/copy/start.h"
#include "engine/copy/walk/readers.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "io/base.h"

/* The run was just begun, and nothing has looked at it. */
static bool is_new(const struct copy_run *p)
{
	return p->kind == RUN_ON_READ && p->phase == COPY_RUN_LOCK && !p->locked;
}

/* The run will have read in a moment: it waits neither for a lock, nor for tokens, nor for what
 * another disk's job reads. */
static bool is_reading(const struct copy_run *p)
{
	if (p->op.error)
		return false;
	switch (p->phase) {
	case COPY_RUN_LOCK: return is_new(p);
	case COPY_RUN_MAP:
	case COPY_RUN_CHARGE:
	case COPY_RUN_READ: return p->kind == RUN_ON_READ && p->lock.held;
	case COPY_RUN_DECODE:
	case COPY_RUN_SHARE: return !shared_read_fed_len(p);
	/* It comes to these phases when the last cluster is decoded, and serves first. */
	case COPY_RUN_COMPRESS: return true;
	case COPY_RUN_WRITE: return !p->compress.is_on;
	case COPY_RUN_FILL:
	case COPY_RUN_CLONE:
	case COPY_RUN_CLONED:
	case COPY_RUN_STORE:
	case COPY_RUN_STORED:
	case COPY_RUN_PUBLISH:
	case COPY_RUN_GIVE_UP:
	case COPY_RUN_GIVEN_UP:
	case COPY_RUN_OVER: return false;
	}
	abort();
}

static struct copy_run *find_run(const struct run_list *runs, uint64_t guest_off)
{
	for (struct copy_run *p = runs->first; p; p = p->next) {
		if (guest_off < p->guest_off || guest_off >= p->guest_off + p->len)
			continue;
		if ((p->kind == RUN_COPY || p->kind == RUN_ON_READ) && !copy_run_in_pieces(p) &&
		    !copy_run_goes_down(p) && (p->read.readers.is_here || is_reading(p)))
			return p;
	}
	return NULL;
}

static void become_reader(struct copy_run *p, struct run_reader *r)
{
	r->len = MIN(r->len, p->guest_off + p->len - r->guest_off);
	r->is_late = p->read.begun_ns;
	if (p->read.readers.is_here) {
		run_readers_fill(p, r);
		r->state = READER_SERVED;
		return;
	}
	r->state = READER_WAITS;
	r->next = p->read.readers.first;
	p->read.readers.first = r;
	r->op->n_pending++;
	p->op.urgent = true;
}

bool reader_join(struct bpull_disk *disk, struct run_reader *r)
{
	struct copy_run *p = find_run(&disk->guests.runs_on_read, r->guest_off);

	if (!p)
		p = find_run(&disk->walk->runs, r->guest_off);
	if (p)
		become_reader(p, r);
	return p;
}

/* ---- Beginning one ---- */

/* The newest run goes on where that is read from the same file: none waits for another server. */
static bool extend_newest(struct copy_run *p, const struct run_reader *r, uint64_t lo, uint64_t end)
{
	return p && is_new(p) && p->read.readers.first && p->read.readers.first->file == r->file &&
	       copy_run_extend(p, lo, end);
}

bool reader_begin_run(struct bpull_disk *disk, struct run_reader *r)
{
	const struct run_list *runs = &disk->guests.runs_on_read;
	uint32_t granule_len = disk_overlay(disk)->granule_len;
	uint64_t end = MIN(round_up(r->with_hi, granule_len), disk_overlay(disk)->backed_len);
	uint64_t lo = round_down(r->guest_off, granule_len);
	uint64_t front = round_down(r->with_lo, granule_len);

	if (granule_len > RUN_MAX_LEN)
		return false;
	if (!extend_newest(runs->last, r, lo, end) &&
	    !(front < lo && copy_run_start_for_reader(disk, front, end, r->guest_off + 1)) &&
	    !copy_run_start_for_reader(disk, lo, end, r->guest_off + 1))
		return false;
	become_reader(runs->last, r);
	return true;
}
