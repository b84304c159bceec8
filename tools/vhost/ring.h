/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A split ring, seen from the device. The only place where its pages are
 * touched: each word is read once, by one instruction.
 */
#ifndef TOOLS_VHOST_RING_H
#define TOOLS_VHOST_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/vhost/protocol.h"

struct vring {
	/* In guest memory; desc NULL: it is nowhere. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size;       /* a power of two */
	uint16_t last_avail; /* the next one to be taken */
	uint16_t next_used;  /* the next to be filled */
	uint16_t signalled;  /* next_used when the guest was told last */
	bool event_idx; /* VIRTIO_EVENT_IDX was acknowledged: else the two words are no ring's */
};

/* Bytes of a ring's parts. */
uint64_t vring_desc_len(unsigned size);
uint64_t vring_avail_len(unsigned size, bool event_idx);
uint64_t vring_used_len(unsigned size, bool event_idx);

/* Takes the next head: 1; 0: there is none; -EPROTO: the ring makes no sense. */
int vring_take(struct vring *ring, uint16_t *head);
/* One descriptor of the ring's own table. index < size. */
struct vring_desc vring_read_desc(const struct vring *ring, uint16_t index);
/* Fills the next used element; the guest sees it after vring_publish(). */
void vring_fill(struct vring *ring, uint16_t head, uint32_t len);
void vring_publish(struct vring *ring);
/* used->idx, as the guest sees it. */
uint16_t vring_used_idx(const struct vring *ring);
/* Behind vring_publish(). True: the guest wants to be told of what was published since it was told
 * last. It counts as told from then on. */
bool vring_claim_signal(struct vring *ring);
/* The guest may be told later: so many requests are left in the ring, or in flight (n_begun), that
 * the next ones end before the guest could send others. False in any case once a bound of untold
 * ends is reached. */
bool vring_tells_later(const struct vring *ring, unsigned n_begun);
/* Asks the guest for kicks; true: there is more already. */
bool vring_listen(struct vring *ring);
/* Kicks are not needed for some time. */
void vring_ignore(struct vring *ring);

#endif
