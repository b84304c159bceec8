/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See cut_log.h. The simulator was not used here: it cuts what goes through a ring. */
#include "tests/support/files/cut_log.h"

#include <assert.h>
#include <errno.h>

#include "io/base.h"
#include "tests/support/effort.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/random.h"

static struct cut_log *active;

static struct cut_unit *add_unit(struct cut_log *log)
{
	struct cut_unit *unit;

	if (log->n_units == log->room) {
		log->room = 2 * log->room + 64;
		log->units = realloc(log->units, log->room * sizeof(*log->units));
		assert(log->units);
	}
	unit = &log->units[log->n_units++];
	*unit = (struct cut_unit){ .epoch = log->n_epochs - 1 };
	return unit;
}

static void log_bytes(struct cut_log *log, const uint8_t *bytes, uint64_t len, uint64_t off)
{
	for (uint64_t at = 0, n; at < len; at += n) {
		struct cut_unit *unit = add_unit(log);
		uint64_t in_sector = (off + at) % 512;

		n = MIN(len - at, 512 - in_sector);
		unit->off = round_down(off + at, 512);
		memcpy(unit->bytes, mem_file_inode(log->file)->bytes + unit->off,
		       MIN(mem_file_inode(log->file)->len - unit->off, UINT64_C(512)));
		if (bytes)
			memcpy(unit->bytes + in_sector, bytes + at, n);
	}
}

static void set_allocated(struct cut_log *log, uint64_t block, bool value)
{
	if (block >= log->n_allocated) {
		log->allocated = realloc(log->allocated, (block + 1) * sizeof(bool));
		assert(log->allocated);
		while (log->n_allocated <= block)
			log->allocated[log->n_allocated++] = false;
	}
	if (log->limited && log->allocated[block] != value)
		log->free_blocks += value ? -1 : 1;
	log->allocated[block] = value;
}

static bool fits(struct cut_log *log, uint64_t off, uint64_t len)
{
	uint64_t wanted = 0;

	for (uint64_t b = off / CUT_BLOCK_LEN; b * CUT_BLOCK_LEN < off + len; b++)
		wanted += b >= log->n_allocated || !log->allocated[b];
	if (log->limited && wanted > log->free_blocks)
		return false;
	for (uint64_t b = off / CUT_BLOCK_LEN; b * CUT_BLOCK_LEN < off + len; b++)
		set_allocated(log, b, true);
	return true;
}

static ssize_t cut_read_at(struct file *file, void *buf, size_t len, uint64_t off)
{
	return active->own_ops->read_at(file, buf, len, off);
}

static int cut_write_at(struct file *file, const void *buf, size_t len, uint64_t off)
{
	int rc;

	if (!fits(active, off, len))
		return -ENOSPC;
	rc = active->own_ops->write_at(file, buf, len, off);
	if (!rc)
		log_bytes(active, buf, len, off);
	return rc;
}

static int cut_sync(struct file *file)
{
	(void)file;
	if (active->fail_sync && active->n_epochs == active->fail_sync)
		return -EIO;
	active->n_epochs++;
	return 0;
}

static int cut_truncate(struct file *file, uint64_t len)
{
	struct cut_unit *unit = add_unit(active);

	unit->is_length = true;
	unit->off = len;
	for (uint64_t b = div_round_up(len, CUT_BLOCK_LEN); b < active->n_allocated; b++)
		set_allocated(active, b, false);
	return active->own_ops->truncate(file, len);
}

static int cut_status(struct file *file, uint64_t off, struct file_status *out)
{
	return active->own_ops->status(file, off, out);
}

static void cut_discard(struct file *file, uint64_t off, uint64_t len)
{
	struct mem_inode *inode = mem_file_inode(file);

	if (off >= inode->len)
		return;
	len = MIN(len, inode->len - off);
	memset(inode->bytes + off, 0, len);
	log_bytes(active, NULL, len, off);
	for (uint64_t b = div_round_up(off, CUT_BLOCK_LEN); (b + 1) * CUT_BLOCK_LEN <= off + len;
	     b++)
		set_allocated(active, b, false);
}

static void cut_close(struct file *file)
{
	assert(!file);
}

static const struct file_ops cut_ops = {
	.read_at = cut_read_at,
	.write_at = cut_write_at,
	.sync = cut_sync,
	.truncate = cut_truncate,
	.status = cut_status,
	.discard = cut_discard,
	.close = cut_close,
};

static bool block_is_zero(const struct mem_inode *inode, uint64_t block)
{
	for (uint64_t i = block * CUT_BLOCK_LEN; i < inode->len && i < (block + 1) * CUT_BLOCK_LEN;
	     i++)
		if (inode->bytes[i])
			return false;
	return true;
}

void cut_log_start(struct cut_log *log, struct file *file, uint64_t n_free_blocks)
{
	struct mem_inode *inode = mem_file_inode(file);

	assert(!active);
	*log = (struct cut_log){ .file = file, .own_ops = file->ops, .n_epochs = 1 };
	log->base_len = inode->len;
	log->base = malloc(inode->len);
	assert(log->base);
	memcpy(log->base, inode->bytes, inode->len);
	for (uint64_t b = 0; b * CUT_BLOCK_LEN < inode->len; b++)
		set_allocated(log, b, !block_is_zero(inode, b));
	log->limited = n_free_blocks != UINT64_MAX;
	log->free_blocks = n_free_blocks;
	file->ops = &cut_ops;
	active = log;
}

void cut_log_stop(struct cut_log *log)
{
	assert(active == log);
	log->file->ops = log->own_ops;
	active = NULL;
}

void cut_log_free(struct cut_log *log)
{
	free(log->base);
	free(log->units);
	free(log->allocated);
}

/* ---- judging ---- */

struct judging {
	struct cut_log *log;
	uint64_t rng;
	bool (*judge)(struct file *state, void *opaque);
	void *opaque;
	uint64_t n_states, n_bad;
};

static uint64_t roll(struct judging *j, uint64_t below)
{
	return random_step(&j->rng) % below;
}

static void apply(struct file *state, const struct cut_unit *unit)
{
	int rc = unit->is_length ? file_truncate(state, unit->off)
				 : file_write(state, unit->bytes, sizeof(unit->bytes), unit->off);

	assert(!rc);
}

/* The units of `epoch` that `kept` names, behind everything before. */
static void judge_state(struct judging *j, unsigned epoch, const bool *kept)
{
	const struct cut_log *log = j->log;
	struct file *state = mem_file_new("cut", log->base_len);

	memcpy(mem_file_inode(state)->bytes, log->base, log->base_len);
	for (size_t i = 0; i < log->n_units && log->units[i].epoch <= epoch; i++)
		if (log->units[i].epoch < epoch || kept[i])
			apply(state, &log->units[i]);
	j->log->judged_epoch = epoch;
	j->n_states++;
	j->n_bad += !j->judge(state, j->opaque);
	file_close(state);
}

static void judge_epoch(struct judging *j, unsigned epoch)
{
	size_t n = j->log->n_units, lo = 0, hi;
	bool *kept = calloc(n + 1, sizeof(bool));
	uint64_t odds;

	assert(kept);
	while (lo < n && j->log->units[lo].epoch < epoch)
		lo++;
	for (hi = lo; hi < n && j->log->units[hi].epoch == epoch;)
		hi++;
	judge_state(j, epoch, kept);
	/* Each prefix; each unit alone; all but one: of many, only some. */
	for (size_t i = lo; i < hi; i++) {
		bool look = roll(j, hi - lo) < EFFORT(24);

		if (look) {
			memset(kept, 0, n);
			kept[i] = true;
			judge_state(j, epoch, kept);
			memset(kept, 1, n);
			kept[i] = false;
			judge_state(j, epoch, kept);
		}
		if (look || i + 1 == hi) {
			for (size_t k = lo; k < hi; k++)
				kept[k] = k <= i;
			judge_state(j, epoch, kept);
		}
	}
	for (int r = 0; r < EFFORT(8) && hi - lo > 1; r++) {
		odds = 1 + roll(j, 9);
		for (size_t i = lo; i < hi; i++)
			kept[i] = roll(j, 10) < odds;
		judge_state(j, epoch, kept);
	}
	free(kept);
}

uint64_t cut_log_judge(struct cut_log *log, uint64_t seed,
		       bool (*judge)(struct file *state, void *opaque), void *opaque,
		       uint64_t *n_states)
{
	struct judging j = { .log = log, .rng = seed | 1, .judge = judge, .opaque = opaque };

	for (unsigned epoch = 0; epoch < log->n_epochs; epoch++)
		judge_epoch(&j, epoch);
	*n_states += j.n_states;
	return j.n_bad;
}
