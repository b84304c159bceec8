/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Digests of what a copy run writes, for jobs that verify. */
#ifndef BLOCKPULL_COPY_DIGEST_H
#define BLOCKPULL_COPY_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct mapping;
struct populate;

/* digest.c; without a job that verifies these do nothing. */
bool populate_digests(const struct populate *p);
/* The len bytes are going to where `map` puts its byte `off` and on. 0 or -ENOMEM. */
int populate_digest(struct populate *p, const struct mapping *map, uint32_t off, uint32_t len,
		    const uint8_t *bytes);
/* Room for the digests of n clusters. 0 or -ENOMEM. */
int populate_prepare_cluster_digests(struct populate *p, uint32_t n_clusters);
/* A whole cluster is about to be compressed in its place. Any thread. */
void populate_digest_cluster(const struct populate *p, uint32_t idx, const uint8_t *bytes);
/* And is going to be written so. 0 or -ENOMEM. */
int populate_note_cluster(struct populate *p, uint64_t guest_off, uint32_t idx);
/* Room in the job's list. 0 or -ENOMEM. */
int populate_prepare_handing_over(struct populate *p);
/* It is published: the job has them now. */
void populate_hand_over(struct populate *p);
void populate_free_digests(struct populate *p);

#endif
