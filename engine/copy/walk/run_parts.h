/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of a copy run: what its phases keep from one to the next. The file of a part's name
 * changes it, where its comment names no other. */
#ifndef BLOCKPULL_COPY_RUN_PARTS_H
#define BLOCKPULL_COPY_RUN_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/copy/walk/readers.h"
#include "engine/core/copied.h"
#include "engine/core/op.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/io.h"

struct clone;
struct decode;
struct encode;
struct iovec;
struct mapping;
struct shared_range;

/* When a run began, and how long it waited for what no guest needs (waits.c). */
struct run_time {
	uint64_t start_ns;  /* ../start.c */
	uint64_t waits_ns;  /* when the present wait began; 0: it does not wait */
	uint64_t waited_ns; /* the sum of waits that are over */
};

/* What a run takes from other jobs' runs, and keeps for them (shared_read.c). */
struct run_shared {
	struct shared_range *ranges;
	unsigned n, n_max;
	bool is_off; /* a read by another job failed: this run reads all itself */
};

/* What a run reads. */
struct run_read {
	unsigned n_reqs;    /* how many of copy_run.reqs are reads */
	uint8_t *comp_buf;  /* compressed input */
	uint32_t comp_held; /* length of comp_buf, which is counted in engine->comp_len */
	struct decode *decodes;
	unsigned n_decodes;
	uint64_t begun_ns;  /* 0: nothing was read yet */
	struct io_req mark; /* cold.c: leaves the mark in the page cache, beside the reads */
	bool has_mark;      /* cold.c: `mark` was submitted for one of the files */
	bool is_of_source;  /* RUN_ON_READ: some of it was read from a source */
	struct run_shared shared;
	struct run_readers readers;
};

/* The pieces of a cluster that is larger than the buffer, or than what a rate lets through at once
 * (write.c, compress.c). */
struct run_pieces {
	uint64_t off;      /* byte of the run where the next piece begins */
	uint64_t told_len; /* guest bytes that copy_counts.copied has already (../run.c) */
	uint64_t written;  /* bit i: piece i was written */
	bool known_zero;   /* the cluster's host space reads as zeros where it was not written */
};

/* Where a run's bytes go. */
struct run_space {
	struct table_need need; /* of the last call that answered TABLE_NEED */
	uint32_t reserved_to;   /* bytes of the run whose host space is decided */
	struct mapping
		*maps; /* the entries to be: their bytes are written, then they are published */
	size_t n_maps, maps_cap;
	struct mapping *spaces; /* host space reserved for maps: whole clusters */
	size_t n_spaces, spaces_cap;
};

/* A run that is written compressed; NULL pointers in others. */
struct run_compress {
	bool is_on;
	/* For each cluster of the run: its compressed bytes, in whole sectors; 0: it is written
	 * plain; or COMP_ZERO, COMP_TRY (clusters.h). */
	uint32_t *lens;
	uint32_t n_chosen; /* clusters for which it is decided whether to compress them */
	struct encode *encodes;
	struct iovec *iovs;
	uint8_t *whole; /* all bytes of a cluster larger than the buffer */
	uint32_t held;  /* bytes that are counted in engine->comp_len for this */
};

/* A run's digests; empty in jobs that do not verify. */
struct run_digest {
	struct copied_list list; /* of what the run has written, or is about to write */
	/* Digests of the run's whole clusters; a large cluster has several. */
	XXH128_hash_t *of_clusters;
};

/* A run that clones. */
struct run_clone {
	unsigned depth;    /* the layer whose blocks it shares */
	uint64_t host_off; /* where they begin in that layer's file */
	struct clone *reqs;
};

/* A run that failed (../run.c), or whose clones were refused. */
struct run_give_up {
	struct io_req discard;
	struct op failed; /* a copy of the operation in error; its error 0: a clone was refused */
	/* job.n_gone_on as the run was begun. If it differs now the job was resumed since, and a
	 * failed run is put back to be tried again. */
	unsigned n_gone_on;
};

#endif
