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
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_WRITE_RIG_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_WRITE_RIG_H

#include "formats/core/layer.h"
#include "formats/core/layer_guest.h"
#include "io/base.h"
#include "io/file.h"
#include "tests/support/rigs/write_rig_commit.h"
#include "tests/support/rigs/write_rig_read.h"

/* Tables that one call may ask for: more would be a call that loses one table over the next, for
 * ever. */
#define WRITE_RIG_MAX_LOADS 2000

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
/* Closes the file, too. */
void write_rig_drop(struct write_rig *rig);

/* As a guest's requests; any offset and length inside the disk. bytes NULL: zeros. */
void write_rig_write(struct write_rig *rig, uint64_t off, const uint8_t *bytes, uint64_t len);
/* Write-zeroes. keep: without UNMAP. */
void write_rig_zero(struct write_rig *rig, uint64_t off, uint64_t len, bool keep);
/* The cursor: copies what is lacking of [off, off + len), for every reader. */
void write_rig_copy(struct write_rig *rig, uint64_t off, uint64_t len);

/* The entry behind guest_off, for looking. */
struct write_extent write_rig_look(struct write_rig *rig, uint64_t guest_off, uint64_t len);
struct extent write_rig_map(struct write_rig *rig, uint64_t guest_off, uint64_t len);

#endif
