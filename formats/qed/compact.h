/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The parts of QED's compaction: compact.c chooses and moves,
 * compact_walk.c finds what is in use, and which entry leads to it.
 */
#ifndef BLOCKPULL_FORMATS_QED_COMPACT_H
#define BLOCKPULL_FORMATS_QED_COMPACT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct file;
struct qed;

/* What compacting came to. */
struct qed_compacted {
	uint64_t end_off; /* first byte behind the last cluster in use */
	uint64_t n_left;  /* clusters still unreferenced in front of it */
	bool no_space;    /* since the file system had no room for a copy */
};

/* Moves what lies last into unreferenced clusters and cuts the file's end off. The image was just
 * checked (all that is in use lies before end_off; UINT64_MAX: before the file's end), nothing of
 * it is dirty or in flight; the caller drops its cached tables afterwards. Blocking. 0 or -errno:
 * then the image is as good as before, but the handle may not know which of the writes are there;
 * -EFBIG: too large to be compacted, nothing was changed. */
int qed_compact(struct qed *q, uint64_t end_off, struct qed_compacted *out);

struct move {
	uint64_t src, dst;  /* first clusters */
	uint64_t entry_off; /* host byte of the entry that names src */
};

struct compact {
	struct qed *q;
	struct file *file;
	uint8_t *used,
		*tables;     /* a bit for each cluster: in use; in use by a table or the header */
	uint64_t n_clusters; /* that the bitmaps describe */
	uint64_t floor;      /* gaps below are leaks that can't be filled */
	struct move *moves;  /* of one batch, highest src first */
	unsigned n_moves;
	uint8_t *l1_buf, *l2_buf, *copy, *there; /* buf_len each */
	uint64_t buf_len;
	/* What one look at the L1 table found. */
	struct move last_table; /* the one that lies highest */
	struct move after_gap;  /* the one that begins at gap_end */
	uint64_t gap, gap_end;  /* the lowest gap, in clusters */
	bool unsound;           /* some entry is not as the check found it */
	bool full;              /* no space for a single copy more */
};

static inline bool compact_bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static inline void compact_set_bits(uint8_t *bits, uint64_t first, uint64_t n, bool value)
{
	for (uint64_t i = first; i < first + n; i++) {
		if (value)
			bits[i / 8] |= (uint8_t)(1u << (i % 8));
		else
			bits[i / 8] &= (uint8_t) ~(1u << (i % 8));
	}
}

typedef void (*entry_fn)(struct compact *c, uint64_t entry, uint64_t entry_off);

#endif
