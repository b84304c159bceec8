/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/copy/down.h"

#include <errno.h>

#include "engine/commit/batch.h"
#include "engine/copy/phases/digest.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/load.h"
#include "engine/core/op.h"
#include "engine/core/ranges/zero.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/buf.h"

/* Bytes of zeros that one run stores, without a buffer. */
#define ZERO_RUN_LEN (64 * MiB)

/* ---- what there is ---- */

static int map_upper(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, struct extent *out,
		     struct table_need *need)
{
	const struct copy_down *down = &disk->walk->down;

	return chain_map_between(disk->chain, down->from, down->to, guest_off, len, out, need);
}

int down_next(struct bpull_disk *disk, uint64_t guest_off, uint64_t end, enum plan_action *action,
	      uint64_t *len, struct table_need *need)
{
	struct extent e;
	int rc = map_upper(disk, guest_off, end - guest_off, &e, need);

	if (rc)
		return rc;
	*len = e.len;
	*action = PLAN_COPY;
	if (e.kind == EXTENT_UNALLOCATED)
		*action = PLAN_SKIP;
	else if (e.kind == EXTENT_ZERO)
		*action = PLAN_ZERO;
	return 0;
}

/* ---- MAP ---- */

/* Plans to copy what the upper layers hold from guest_off on, up to the first byte that they don't
 * hold, and as far as the buffer goes. */
static int plan_held(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, struct plan *plan,
		     struct table_need *need)
{
	uint32_t limit = MIN(len, (uint64_t)RUN_MAX_LEN), at = 0;

	plan_begin(plan, guest_off);
	while (at < limit && plan->n_parts < PLAN_MAX_PARTS) {
		struct extent e;
		int rc = map_upper(disk, guest_off + at, limit - at, &e, need);

		if (rc)
			return rc;
		if (e.kind == EXTENT_UNALLOCATED)
			break;
		plan_add(plan, at, &e);
		at += e.len;
	}
	plan_end(plan, at);
	plan->len = at;
	return 0;
}

/* A run of zeros alone, which needs no buffer. */
static int plan_zeros(struct copy_run *p, struct table_need *need)
{
	enum plan_action action;
	uint64_t len;
	int rc = down_next(p->op.disk, p->guest_off,
			   p->guest_off + MIN(p->len, (uint64_t)ZERO_RUN_LEN), &action, &len, need);

	plan_begin(&p->plan, p->guest_off);
	p->plan.len = !rc && action == PLAN_ZERO ? len : 0;
	return rc;
}

enum step down_map(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	uint64_t end = MIN(p->guest_off + p->len, p->walk->down.end);
	struct table_need need;
	int rc = p->buf ? plan_held(disk, p->guest_off, end - p->guest_off, &p->plan, &need)
			: plan_zeros(p, &need);

	if (rc == TABLE_NEED)
		return op_wait_table(&p->op, &need);
	if (rc) {
		op_set_error(&p->op, rc, NULL, p->guest_off, true);
		return STEP_NEXT;
	}
	p->len = p->plan.len;
	if (!p->len) { /* a guest came before: the cursor looks again */
		copy_run_put_back(p, p->guest_off);
		p->phase = COPY_RUN_OVER;
		return STEP_NEXT;
	}
	if (p->buf)
		p->buf = buf_shrink(disk->engine->bufs, p->buf, p->len);
	copy_run_mapped(p);
	p->phase = p->buf ? COPY_RUN_CHARGE : COPY_RUN_STORE;
	return STEP_NEXT;
}

/* ---- STORE ---- */

/* For how many bytes from byte `at` of the run on the lower image's granules are all zeros
 * (*is_zero), or none of them is. Only a granule that lies whole in the run counts as zeros. */
static uint32_t alike_len(const struct copy_run *p, uint32_t at, bool *is_zero)
{
	const struct layer *lower = disk_overlay(p->walk->down.into);
	uint32_t granule_len = lower->granule_len, from = at;

	*is_zero = false;
	if (!lower->has_zero_entries || granule_len > RUN_MAX_LEN)
		return p->len - at;
	while (at < p->len) {
		uint64_t next = round_up(p->guest_off + at + 1, granule_len) - p->guest_off;
		uint32_t end = MIN(next, p->len);
		bool zero = is_aligned(p->guest_off + at, granule_len) && end == next &&
			    zero_is(p->buf + at, end - at);

		if (at == from)
			*is_zero = zero;
		else if (zero != *is_zero)
			break;
		at = end;
	}
	return at - from;
}

/* Notes the digests of what the lower image will read for the run's range. 0 or -ENOMEM. */
static int note_digests(struct copy_run *p)
{
	uint32_t len;
	int rc = 0;

	if (!copy_run_digests(p))
		return 0;
	if (!p->buf)
		return copy_run_digest_stored(p, 0, p->len, NULL);
	for (uint32_t at = 0; !rc && at < p->len; at += len) {
		bool is_zero;

		len = alike_len(p, at, &is_zero);
		rc = copy_run_digest_stored(p, at, len, is_zero ? NULL : p->buf + at);
	}
	return rc;
}

static enum step store_zeros(struct copy_run *p)
{
	const struct copy_down *down = &p->walk->down;

	down->ops->zero(down->into, &p->op, p->guest_off, p->len);
	return p->op.n_pending ? STEP_WAIT : STEP_NEXT;
}

enum step down_store(struct copy_run *p)
{
	const struct copy_down *down = &p->walk->down;
	int rc = down->into->poisoned; /* I7 */
	uint32_t len;
	bool is_zero;

	p->phase = COPY_RUN_STORED;
	if (!rc)
		rc = note_digests(p);
	if (rc) {
		op_set_error(&p->op, rc, NULL, p->guest_off, false);
		return STEP_NEXT;
	}
	if (!p->buf)
		return store_zeros(p);
	for (uint32_t at = 0; !p->op.error && at < p->len; at += len) {
		len = alike_len(p, at, &is_zero);
		if (is_zero)
			down->ops->zero(down->into, &p->op, p->guest_off + at, len);
		else
			down->ops->write(down->into, &p->op, p->buf + at, len, p->guest_off + at);
		*(is_zero ? &p->counts.zero : &p->counts.copied) += len;
	}
	return p->op.n_pending ? STEP_WAIT : STEP_NEXT;
}

/* The bytes are written to the lower image, not durably. No proof can see that there, since the
 * upper layers still hold the range: so the run itself is the evidence, and the job makes the lower
 * image durable before its end (I11). */
enum step down_stored(struct copy_run *p)
{
	struct bpull_disk *into = p->walk->down.into;
	struct copy_counts *counts = &p->walk->counts;
	int rc = copy_run_prepare_handing_over(p);

	if (rc) {
		op_set_error(&p->op, rc, NULL, p->guest_off, false);
		return STEP_NEXT;
	}
	copy_run_hand_over(p);
	/* A raw file has no tables whose publishing would make a commit due: without this, all that
	 * was written would be left to the last barrier. */
	if (disk_is_raw(into))
		commit_note_published(into, p->counts.copied);
	proof_settle(p->op.disk, p->guest_off, p->guest_off + p->len);
	counts->copied += p->counts.copied;
	counts->zero += p->buf ? p->counts.zero : 0;
	counts->skipped += p->buf ? 0 : p->len;
	p->taken.is_done = true;
	p->phase = COPY_RUN_OVER;
	return STEP_NEXT;
}

/* ---- what a guest writes meanwhile ---- */

void down_note_written(struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	struct copy_down *down = &disk->walk->down;

	if (down->into && !down->from)
		/* It can't fail: the set has had a range. */
		(void)range_set_add(&down->written, guest_off, guest_off + len);
}

void down_owe_written(struct bpull_disk *disk)
{
	struct copy_walk *walk = disk->walk;

	/* It can't fail: `owed` has had a range, so it has memory for one. */
	(void)range_set_copy(&walk->owed, &walk->down.written);
	range_set_clear(&walk->down.written);
	copy_walk_anew(disk);
}
