/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Digests of what a copy run writes, for jobs that verify. */
#ifndef BLOCKPULL_COPY_DIGEST_H
#define BLOCKPULL_COPY_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/copied.h"
#include "io/base.h"

struct mapping;
struct copy_run;

/* The run must note digests of what it writes. The other functions do nothing for a run without. */
bool copy_run_digests(const struct copy_run *p);
/* Notes the digest of len bytes that will be written from byte `off` of the mapping on. 0 or
 * -ENOMEM. */
int copy_run_digest(struct copy_run *p, const struct mapping *map, uint32_t off, uint32_t len,
		    const uint8_t *bytes);
/* For a run that copies into a lower image: notes what that will read for the len bytes from byte
 * `at` of the run on. bytes: NULL: zeros. 0 or -ENOMEM. */
int copy_run_digest_stored(struct copy_run *p, uint64_t at, uint64_t len, const uint8_t *bytes);
/* Allocates room for the digests of n clusters that may be compressed. 0 or -ENOMEM. */
int copy_run_prepare_cluster_digests(struct copy_run *p, uint32_t n_clusters);
/* A whole cluster is about to be compressed in its place: takes the digest of its bytes as they are
 * now. Any thread. */
void copy_run_digest_cluster(const struct copy_run *p, uint32_t idx, const uint8_t *bytes);
/* Notes the digest that was taken of a cluster, which will be written compressed. 0 or -ENOMEM. */
int copy_run_note_cluster(struct copy_run *p, uint64_t guest_off, uint32_t idx);
/* Makes room in the job's list for the run's digests. 0 or -ENOMEM. */
int copy_run_prepare_handing_over(struct copy_run *p);
/* The run is published: its digests are the job's now. */
void copy_run_hand_over(struct copy_run *p);
void copy_run_free_digests(struct copy_run *p);

#endif
