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

/* Without a job that verifies these do nothing. */
bool copy_run_digests(const struct copy_run *p);
/* The len bytes are going to where `map` puts its byte `off` and on. 0 or -ENOMEM. */
int copy_run_digest(struct copy_run *p, const struct mapping *map, uint32_t off, uint32_t len,
		    const uint8_t *bytes);
/* Of a run that goes down: the len bytes from its byte `at` on are to be what a lower image reads;
 * NULL: zeros. 0 or -ENOMEM. */
int copy_run_digest_stored(struct copy_run *p, uint64_t at, uint64_t len, const uint8_t *bytes);
/* Room for the digests of n clusters. 0 or -ENOMEM. */
int copy_run_prepare_cluster_digests(struct copy_run *p, uint32_t n_clusters);
/* A whole cluster is about to be compressed in its place. Any thread. */
void copy_run_digest_cluster(const struct copy_run *p, uint32_t idx, const uint8_t *bytes);
/* Records the digest of a cluster that will be written compressed. 0 or -ENOMEM. */
int copy_run_note_cluster(struct copy_run *p, uint64_t guest_off, uint32_t idx);
/* Room in the job's list. 0 or -ENOMEM. */
int copy_run_prepare_handing_over(struct copy_run *p);
/* The run is published: its digests are the job's now. */
void copy_run_hand_over(struct copy_run *p);
void copy_run_free_digests(struct copy_run *p);

#endif
