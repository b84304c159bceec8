/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The list of what a job has copied, which verifying (job/verify.c) reads back. */
#ifndef BLOCKPULL_CORE_COPIED_H
#define BLOCKPULL_CORE_COPIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/io.h"

/* Guest bytes under one digest, at most. They are verified together; a guest's write into them ends
 * that for all of them. */
#define COPIED_MAX_LEN (UINT64_C(64) << 10)

/* One range that was copied into the overlay, and what it was when it was read. */
struct copied {
	uint64_t guest_off;
	uint64_t host_off; /* only if is_direct; else the tables lead to the bytes */
	uint32_t len; /* bytes; 0: the guest has overwritten it, or it was found right: skip it */
	/* The bytes are read at host_off: no table of the guest's disk leads there, since they are
	 * a snapshot's alone, or the image is a raw file. */
	bool is_direct;
	bool is_zero; /* zeros, which do not count as copied */
	XXH128_hash_t digest;
};

/* In order of guest_off. Zero-initialise. */
struct copied_list {
	struct copied *items;
	size_t n, cap;
};

/* How many of the `len` bytes from guest_off on are under one digest: up to the next multiple of
 * COPIED_MAX_LEN. */
uint32_t copied_part_len(uint64_t guest_off, uint64_t len);
/* Makes room for n more items: 0 or -ENOMEM. */
int copied_reserve(struct copied_list *list, size_t n);
/* Adds an item; copied_reserve() has made room. */
void copied_add(struct copied_list *list, const struct copied *item);
/* The guest writes to [guest_off, guest_off + len) of its disk: what was copied there is not
 * compared any more. */
void copied_forget(struct copied_list *list, uint64_t guest_off, uint64_t len);
void copied_clear(struct copied_list *list);

#define HOLE_SAMPLE_LEN 4096u

/* Reads samples of what file systems call holes of raw files, one after the other
 * (job/verify_holes.c). */
struct hole_samples {
	struct op op;       /* first: an op is cast to this struct */
	bool reading, done; /* a sample is in flight; all were read */
	unsigned depth;     /* of the layer whose file is sampled */
	uint64_t off;       /* byte in its file: all before it was looked at */
	struct file *file;
	/* Byte of the sample in flight; the next `off`, once that was found zero. */
	uint64_t at, next_off;
	struct io_req req;
	uint8_t block[HOLE_SAMPLE_LEN];
};

/* A job's BPULL_JOB_VERIFY: what was copied and not read back yet. */
struct verify {
	struct hole_samples holes;
	struct copied_list list;
	size_t max_items; /* with so many it is read back before more is copied */
	/* The job commits into a lower image (copy/down.h), and that is read back. No guest writes
	 * there, so a guest's write makes no item invalid: what it wrote above is copied, and
	 * noted, anew. */
	bool is_below;
	bool uncached;  /* what was copied is out of the page cache: reading back has begun */
	bool uncaching; /* a worker takes it out */
	size_t next;    /* index of the next item to be read back */
	unsigned n_reading;
	enum job_step after; /* the job's step when all is read back */
};

/* The job verifies: copy runs must note what they write. */
bool verify_is_on(const struct bpull_disk *disk);
/* The list is full: it must be read back before the cursor goes on. */
bool verify_is_full(const struct bpull_disk *disk);
/* Something is noted and not read back yet. */
bool verify_has_any(const struct bpull_disk *disk);
/* The guest is about to change [guest_off, guest_off + len), and has its clusters locked: what was
 * copied there is not verified any more. */
void verify_forget(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);

#endif
