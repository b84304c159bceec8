/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest's requests: 4 KiB at random places, so many in flight. The same load
 * is put on the library and on the raw file.
 */
#ifndef BENCH_RIG_LOAD_H
#define BENCH_RIG_LOAD_H

#include <stdint.h>

#include "bench/rig/histogram.h"

#define LOAD_LEN       4096u
#define LOAD_MAX_DEPTH 256u
#define LOAD_END       UINT64_MAX

enum load_kind {
	LOAD_READ,
	LOAD_WRITE,
	LOAD_ALLOC, /* a write into each cluster once, in no order */
};

struct load {
	enum load_kind kind;
	unsigned depth;
	uint64_t area_len;  /* requests go to [0, area_len) of the guest's disk, whole clusters */
	uint64_t alloc_len; /* LOAD_ALLOC: of the area, how much may be used */
	uint32_t cluster_size;
	uint64_t state; /* of the random numbers; LOAD_ALLOC: how many clusters were taken */
	uint8_t *bufs;  /* depth * LOAD_LEN, page aligned */
};

/* Where the next request goes; LOAD_END: no cluster is left. */
uint64_t load_next(struct load *load);
int load_is_over(const struct load *load); /* a LOAD_ALLOC that has used its clusters */
/* Content for writes. 0 or -ENOMEM. Free bufs with free(). */
int load_buffers(struct load *load);

/* The raw file's side (raw_ring.c). */
struct raw_ring;
struct bpull_extent;
/* extents (NULL: guest offsets are the file's) say where in the file the area lies; kept, not
 * copied. 0 or -errno. */
int raw_ring_open(const char *path, const struct bpull_extent *extents, unsigned n_extents,
		  unsigned depth, struct raw_ring **ring);
void raw_ring_close(struct raw_ring *ring);
/* Keeps load->depth requests in flight until until_ns, then waits for the rest. *n_done counts. 0
 * or -errno. */
int raw_ring_slice(struct raw_ring *ring, struct load *load, uint64_t until_ns, struct histogram *h,
		   uint64_t *n_done);

#endif
