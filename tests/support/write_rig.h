/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An open image under the guest's writes, with what the engine does around it,
 * one operation at a time: loading tables, filling units, writing data before
 * it is published, copying from below, and commits stage by stage with what
 * they let go. Beside it a flat disk that says what must be read. Everything
 * blocks and asserts.
 *
 * Testing through the engine was rejected here: it never shows at which moment
 * space is used again, nor an order of writes that is wrong on purpose.
 */
#ifndef BLOCKPULL_TESTS_WRITE_RIG_H
#define BLOCKPULL_TESTS_WRITE_RIG_H

#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"

/* Orders that a crash test must notice. */
enum write_rig_fault {
	RIG_RIGHT,
	RIG_FREED_TOO_EARLY,  /* breaks I5: counted free before the entries are durable */
	RIG_NO_DRAIN_BARRIER, /* breaks I5: used again before the entries are durable */
	RIG_ROOT_TOO_EARLY,   /* breaks I2: L1 entries with what they must come after */
};

struct write_rig {
	struct file *file, *data; /* data: the external one, or NULL */
	struct table_cache *cache;
	struct layer *layer;
	const uint8_t *below; /* what unallocated clusters read; zeros behind below_len */
	uint64_t below_len;
	uint8_t *model;  /* guest_len bytes: what the disk must read */
	bool draining;   /* space counted free waits for reuse_freed() */
	bool auto_drain; /* nothing is in flight: reuse_freed() follows at once */
	bool compress;   /* copies, where it can be */
	enum write_rig_fault fault;
	/* how often */
	unsigned n_in_place, n_new, n_in_space, n_unshared, n_zero_entries, n_copied, n_compressed;
};

/* Opens the image in `file` (which stays the caller's, as `data` and `below` do), ready for the
 * guest's writes; the model is what it reads. */
void write_rig_open(struct write_rig *rig, struct file *file, struct file *data,
		    const uint8_t *below, uint64_t below_len);
void write_rig_close(struct write_rig *rig);

/* As a guest's requests; any offset and length inside the disk. bytes NULL: zeros. */
void write_rig_write(struct write_rig *rig, uint64_t off, const uint8_t *bytes, uint64_t len);
/* Write-zeroes. keep: without UNMAP. */
void write_rig_zero(struct write_rig *rig, uint64_t off, uint64_t len, bool keep);
/* The cursor: copies what is lacking of [off, off + len), for every reader. */
void write_rig_copy(struct write_rig *rig, uint64_t off, uint64_t len);

/* One group commit, in the order of engine/commit/commit.c. */
void write_rig_commit(struct write_rig *rig, bool hard);
/* What was in flight is over. */
void write_rig_drain(struct write_rig *rig);
/* As at closing: commits until nothing is dirty and no space is on its way. */
void write_rig_settle(struct write_rig *rig);

/* The entry behind guest_off, for looking. */
struct write_extent write_rig_look(struct write_rig *rig, uint64_t guest_off, uint64_t len);
struct extent write_rig_map(struct write_rig *rig, uint64_t guest_off, uint64_t len);
/* Reads what the guest does. */
void write_rig_read(struct write_rig *rig, uint64_t off, uint8_t *buf, uint64_t len);
/* Fails the test unless the disk reads as the model, through the tables in memory. */
void write_rig_assert_model(struct write_rig *rig);

/* Reads the image in `file` afresh: the disk, or internal snapshot `snapshot` (from 1) as if it
 * were the disk, n bytes of it into out. 0 or -errno. */
int write_rig_read_fresh(struct file *file, struct file *data, unsigned snapshot,
			 const uint8_t *below, uint64_t below_len, uint8_t *out, uint64_t len);
/* Our own check of the image as it is on disk. 0: no errors; *n_leaks. The text of the first error,
 * or else of the first leak, into why. */
int write_rig_check(struct file *file, uint64_t *n_leaks, char *why, size_t cap);

/* May it be written to again? As begin_writing(), on the file itself. */
int write_rig_reopens(struct file *file);

/* Seeded numbers. */
void write_rig_seed(uint64_t seed);
uint64_t write_rig_roll(uint64_t below);

#endif
