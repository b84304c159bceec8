/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A base that the test supplies (bpull_source): a file in memory, whose questions a thread of its
 * own ends, in an order and after pauses that a seed chooses. What it is asked is judged by the
 * contract of blockpull.h. Faults are switched on from outside.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_MEM_SOURCE_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_MEM_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"

struct mem_source;

struct mem_source_how {
	const char *recorded; /* the name that leads to it */
	const uint8_t *bytes; /* the test's */
	uint64_t len;
	uint32_t block_size, max_size; /* as in struct bpull_source */
	const char *identity;
	enum bpull_format format; /* bpull_base.format */
	uint64_t seed;            /* not 0 */
	unsigned max_pause_us;
	bool ends_inside; /* questions end inside the call that asks them */
	/* As in struct bpull_source. */
	const uint8_t *chunk_digests;
	uint64_t n_chunks;
	uint32_t chunk_size;
	bool tells_all;   /* with has_extents: all zeros */
	bool has_extents; /* zeros are told, by 4 KiB; of the seed: some are not */
};

struct mem_source *mem_source_new(const struct mem_source_how *how);
/* From now on each read, and each question for extents, ends with this; 0: as it should. */
void mem_source_fail(struct mem_source *source, int rc);
/* The same from the n-th read on, counted from 0 and from now. */
void mem_source_fail_from(struct mem_source *source, unsigned n, int rc);
/* Questions for extents end with this from now on, with extents told all the same. */
void mem_source_fail_extents(struct mem_source *source, int rc);
unsigned mem_source_n_reads(const struct mem_source *source);
uint64_t mem_source_bytes_read(const struct mem_source *source);
unsigned mem_source_n_guest(const struct mem_source *source); /* questions of BPULL_SOURCE_GUEST */
unsigned mem_source_n_job(const struct mem_source *source);   /* ... of BPULL_SOURCE_JOB */
/* NULL, or how it was asked what it must not be. */
const char *mem_source_fault(const struct mem_source *source);
/* How often it was opened, and is not closed. */
unsigned mem_source_n_open(const struct mem_source *source);
void mem_source_free(struct mem_source *source);

/* For find_base: opaque is a struct mem_sources. Any other name is not known. */
struct mem_sources {
	struct mem_source *of[4];       /* NULL behind the last */
	const char *mapped, *mapped_to; /* a name that leads to a path, allowed as the flag says */
	bool mapped_is_allowed;
	const char *refused; /* a name that is refused with -EPERM and a sentence */
};

int mem_sources_find(void *opaque, const struct bpull_open_request *request,
		     struct bpull_base *base, struct bpull_error *error);

#endif
