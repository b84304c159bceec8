/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The guest's memory as the frontend describes it, and what its addresses are here: pure. */
#ifndef TOOLS_VHOST_MEMORY_H
#define TOOLS_VHOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tools/vhost/protocol.h"

#define VHOST_MAX_REGIONS 32u

struct vhost_region {
	uint64_t guest_addr, len, user_addr; /* user_addr: of the frontend's own space */
	uint8_t *host;                       /* where guest_addr lies here */
	void *map;                           /* what is mapped, map_len bytes */
	size_t map_len;
};

struct vhost_memory {
	struct vhost_region regions[VHOST_MAX_REGIONS];
	unsigned n;
};

/* NULL: the region may be added. Else half a sentence on what is wrong. Static. */
const char *vhost_region_wrong(const struct vhost_memory *memory,
			       const struct vhost_region_message *region);
/* The index of the region that is exactly this one; -1: there is none. */
int vhost_memory_find(const struct vhost_memory *memory, const struct vhost_region_message *region);
/* Where [user_addr, + len) lies here, all of it in one region; NULL: it does not. */
void *vhost_memory_user(const struct vhost_memory *memory, uint64_t user_addr, uint64_t len);
/* Fills at most max (> 0) vectors for [guest_addr, + len), which may lie in several regions.
 * Returns how many (0 where len is 0), -EFAULT (not all of it is memory) or -E2BIG. */
int vhost_memory_guest(const struct vhost_memory *memory, uint64_t guest_addr, uint64_t len,
		       struct iovec *iov, unsigned max);
/* Copies from guest memory. False: not all of it is memory. */
bool vhost_memory_copy(const struct vhost_memory *memory, uint64_t guest_addr, void *out,
		       uint32_t len);
/* The guest-physical address of a place in a region; UINT64_MAX: it is in none. */
uint64_t vhost_memory_addr_of(const struct vhost_memory *memory, const void *host);

#endif
