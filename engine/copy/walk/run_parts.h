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

/* waits.c */
struct run_time {
	uint64_t start_ns;
	uint64_t waits_ns;  /* since then it waits for what no guest needs; 0: it does not */
	uint64_t waited_ns; /* so long it did so before */
};

/* What a run takes from other jobs' runs, and keeps for them (shared_read.c). */
struct run_shared {
	struct shared_range *ranges;
	unsigned n, n_max;
	bool is_off; /* another job's read failed: the run reads all itself */
};

/* What a run reads. */
struct run_read {
	unsigned n_reqs;    /* of the run's requests, that read */
	uint8_t *comp_buf;  /* compressed input */
	uint32_t comp_held; /* bytes of it: counted in engine->comp_len */
	struct decode *decodes;
	unsigned n_decodes;
	uint64_t begun_ns;  /* 0: nothing was read yet */
	struct io_req mark; /* cold.c: a page that is read beside them */
	bool has_mark;      /* it is, for one of the files */
	bool is_of_source;  /* a copy that follows a guest's read has read of a source */
	struct run_shared shared;
	struct run_readers readers;
};

/* write.c. The pieces of a cluster larger than the buffer, or than what a rate lets through at
 * once. */
struct run_pieces {
	uint64_t off;      /* byte of the run where the next one begins */
	uint64_t told_len; /* guest bytes of them that the job counts as copied already */
	uint64_t written;  /* bit i: piece i */
	bool known_zero;   /* the cluster's host space reads as zeros where not written */
};

/* Where its bytes go. */
struct run_space {
	struct table_need need; /* of the last call that answered TABLE_NEED */
	uint32_t reserved_to;   /* bytes of the run whose host space is decided */
	struct mapping *maps;   /* written, then published */
	size_t n_maps, maps_cap;
	struct mapping *spaces; /* reserved for them: whole clusters */
	size_t n_spaces, spaces_cap;
};

/* A run that is written compressed; NULL pointers in others. */
struct run_compress {
	bool is_on;
	uint32_t *lens;    /* for each cluster of the run: bytes in whole sectors, 0: plain */
	uint32_t n_chosen; /* of them it is decided whether to compress them */
	struct encode *encodes;
	struct iovec *iovs;
	uint8_t *whole; /* all of a cluster larger than the buffer */
	uint32_t held;  /* counted in engine->comp_len */
};

/* A run's digests; empty in jobs that do not verify. */
struct run_digest {
	struct copied_list list; /* what it has written, or is about to */
	/* Digests of the run's whole clusters; a large cluster has several. */
	XXH128_hash_t *of_clusters;
};

/* A run that clones: the layer whose blocks it shares, the byte of its file where they begin, and
 * the requests. */
struct run_clone {
	unsigned depth;
	uint64_t off;
	struct clone *reqs;
};

/* A run that failed, or was refused. */
struct run_give_up {
	struct io_req discard;
	struct op failed; /* the operation, as it was in error; error 0: it was not */
	/* The job's, when the run was begun: what fails of a run that is older than the job's last
	 * resume is tried again. */
	unsigned n_gone_on;
};

#endif
