/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * All addresses are hostile: lengths are compared with what a region has left,
 * and never added to an address before that. A range may run from one region
 * into the next; rings may not, as they are touched as arrays.
 */
#include "tools/vhost/memory.h"

#include <errno.h>
#include <string.h>

static bool memory_is_long(uint64_t addr, uint64_t len)
{
	return addr + len < addr;
}

static bool memory_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

const char *vhost_region_wrong(const struct vhost_memory *memory,
			       const struct vhost_region_message *m)
{
	if (memory->n == VHOST_MAX_REGIONS)
		return "there are too many regions";
	if (!m->len)
		return "a region is empty";
	if (memory_is_long(m->guest_addr, m->len) || memory_is_long(m->user_addr, m->len) ||
	    memory_is_long(m->mmap_off, m->len) || m->mmap_off + m->len > INT64_MAX)
		return "a region is beyond the end of addresses";
	for (unsigned i = 0; i < memory->n; i++) {
		const struct vhost_region *r = &memory->regions[i];

		if (memory_overlap(r->guest_addr, r->len, m->guest_addr, m->len) ||
		    memory_overlap(r->user_addr, r->len, m->user_addr, m->len))
			return "two regions overlap";
	}
	return NULL;
}

int vhost_memory_find(const struct vhost_memory *memory, const struct vhost_region_message *m)
{
	for (unsigned i = 0; i < memory->n; i++) {
		const struct vhost_region *r = &memory->regions[i];

		if (r->guest_addr == m->guest_addr && r->len == m->len &&
		    r->user_addr == m->user_addr)
			return i;
	}
	return -1;
}

void *vhost_memory_user(const struct vhost_memory *memory, uint64_t user_addr, uint64_t len)
{
	for (unsigned i = 0; i < memory->n; i++) {
		const struct vhost_region *r = &memory->regions[i];
		uint64_t at = user_addr - r->user_addr;

		if (user_addr >= r->user_addr && at < r->len && len <= r->len - at)
			return r->host + at;
	}
	return NULL;
}

static const struct vhost_region *memory_region_at(const struct vhost_memory *memory,
						   uint64_t guest_addr)
{
	for (unsigned i = 0; i < memory->n; i++) {
		const struct vhost_region *r = &memory->regions[i];

		if (guest_addr >= r->guest_addr && guest_addr - r->guest_addr < r->len)
			return r;
	}
	return NULL;
}

int vhost_memory_guest(const struct vhost_memory *memory, uint64_t guest_addr, uint64_t len,
		       struct iovec *iov, unsigned max)
{
	unsigned n = 0;

	if (memory_is_long(guest_addr, len))
		return -EFAULT;
	while (len) {
		const struct vhost_region *r = memory_region_at(memory, guest_addr);
		uint64_t at, here;

		if (!r)
			return -EFAULT;
		if (n == max)
			return -E2BIG;
		at = guest_addr - r->guest_addr;
		here = len < r->len - at ? len : r->len - at;
		iov[n++] = (struct iovec){ r->host + at, here };
		guest_addr += here;
		len -= here;
	}
	return n;
}

bool vhost_memory_copy(const struct vhost_memory *memory, uint64_t guest_addr, void *out,
		       uint32_t len)
{
	struct iovec iov[4];
	int n = vhost_memory_guest(memory, guest_addr, len, iov, 4);
	uint8_t *to = out;

	for (int i = 0; i < n; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	return n >= 0;
}

uint64_t vhost_memory_addr_of(const struct vhost_memory *memory, const void *host)
{
	for (unsigned i = 0; i < memory->n; i++) {
		const struct vhost_region *r = &memory->regions[i];
		const uint8_t *at = host;

		if (at >= r->host && (uint64_t)(at - r->host) < r->len)
			return r->guest_addr + (at - r->host);
	}
	return UINT64_MAX;
}
