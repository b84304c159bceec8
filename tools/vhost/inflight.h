/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The in-flight region: shared memory that the frontend keeps while we are not
 * there, in which each request is marked from the moment that it is taken until
 * the guest can see its end. Pure, over memory.
 */
#ifndef TOOLS_VHOST_INFLIGHT_H
#define TOOLS_VHOST_INFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One queue's part. NULL members: the frontend keeps none. */
struct inflight {
	struct inflight_queue *queue;
	uint16_t size;    /* of the ring */
	uint64_t counter; /* of the request that is taken next */
	uint16_t n_batch; /* of those that were ended and are not published */
};

/* Bytes of a region for so many queues of this size: as the protocol wants it; as we make it. */
size_t inflight_min_len(unsigned n_queues, unsigned queue_size);
size_t inflight_len(unsigned n_queues, unsigned queue_size);
/* The part of queue `index`. */
void inflight_open(struct inflight *inflight, void *region, unsigned index, unsigned queue_size);
/* What is kept for the whole device, behind the queues' parts: whether the guest's cache is
 * write-back. False: the region has no place for it, or holds nothing yet. */
bool inflight_load_cache(const void *region, size_t len, unsigned n_queues, unsigned queue_size,
			 bool *write_back);
void inflight_save_cache(void *region, size_t len, unsigned n_queues, unsigned queue_size,
			 bool write_back);

/* At the ring's start: mends what was under way when the last process ended, and fills `heads`
 * (room for `size`) with what is in flight, the oldest first. used_idx: the ring's. Returns how
 * many; -ENOENT: the region was new, or is of another life of the ring, and has begun anew;
 * -ENOMEM. */
int inflight_recover(struct inflight *inflight, uint16_t used_idx, uint16_t *heads);

/* A head was taken from the ring. */
void inflight_take(struct inflight *inflight, uint16_t head);
/* A head was filled into the used ring, of which the guest sees nothing yet. */
void inflight_end(struct inflight *inflight, uint16_t head);
/* The guest sees it, and all others of the batch: used->idx is used_idx. */
void inflight_publish(struct inflight *inflight, uint16_t used_idx);

#endif
