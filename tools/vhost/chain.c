/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Each descriptor is copied once and judged on the copy. A chain has at most as
 * many as its table has places, so that a circle ends; a table of its own
 * (indirect) may be anywhere in memory and leads to no further one.
 */
#include "tools/vhost/chain.h"

#include <errno.h>
#include <stdbool.h>

/* Where descriptors come from. */
struct table {
	const struct vring *ring; /* NULL: an indirect table */
	const struct vhost_memory *memory;
	uint64_t addr;   /* of an indirect one */
	uint32_t n_desc; /* places */
};

static int chain_fetch(const struct table *table, uint32_t index, struct vring_desc *desc)
{
	if (index >= table->n_desc)
		return -EPROTO;
	if (table->ring)
		*desc = vring_read_desc(table->ring, index);
	else if (!vhost_memory_copy(table->memory, table->addr + index * sizeof(*desc), desc,
				    sizeof(*desc)))
		return -EFAULT;
	return 0;
}

static int chain_add(struct vhost_chain *chain, const struct vhost_memory *memory,
		     const struct vring_desc *desc)
{
	unsigned used = chain->n_in + chain->n_out;
	int n;

	/* What is written comes behind all that is read. */
	if (!(desc->flags & VRING_WRITE) && chain->n_out)
		return -EPROTO;
	if (used == VHOST_CHAIN_VECTORS)
		return -E2BIG;
	n = vhost_memory_guest(memory, desc->addr, desc->len, chain->iov + used,
			       VHOST_CHAIN_VECTORS - used);
	if (n < 0)
		return n;
	if (desc->flags & VRING_WRITE) {
		chain->n_out += n;
		chain->out_len += desc->len;
	} else {
		chain->n_in += n;
		chain->in_len += desc->len;
	}
	return 0;
}

static int chain_walk(const struct table *table, uint32_t first, struct vhost_chain *chain,
		      bool *is_indirect, struct vring_desc *desc)
{
	uint32_t index = first;

	*is_indirect = false;
	for (uint32_t n = 0; n < table->n_desc; n++) {
		int rc = chain_fetch(table, index, desc);

		if (rc)
			return rc;
		*is_indirect = desc->flags & VRING_INDIRECT;
		/* A table stands for the rest of the chain, and is no table's. */
		if (*is_indirect)
			return !table->ring || desc->flags & VRING_NEXT ? -EPROTO : 0;
		rc = chain_add(chain, table->memory, desc);
		if (rc || !(desc->flags & VRING_NEXT))
			return rc;
		index = desc->next;
	}
	return -EPROTO; /* a circle */
}

int vhost_chain_read(const struct vring *ring, const struct vhost_memory *memory, uint16_t head,
		     struct vhost_chain *chain)
{
	struct table table = { ring, memory, 0, ring->size };
	struct vring_desc desc;
	bool is_indirect;
	int rc;

	chain->n_in = chain->n_out = 0;
	chain->in_len = chain->out_len = 0;
	rc = chain_walk(&table, head, chain, &is_indirect, &desc);
	if (rc || !is_indirect)
		return rc;
	if (!desc.len || desc.len % sizeof(struct vring_desc) ||
	    desc.len / sizeof(struct vring_desc) > VRING_MAX_SIZE ||
	    desc.addr + desc.len < desc.addr)
		return -EPROTO;
	table = (struct table){ NULL, memory, desc.addr, desc.len / sizeof(struct vring_desc) };
	return chain_walk(&table, 0, chain, &is_indirect, &desc);
}
