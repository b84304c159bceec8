/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The descriptors of one request as vectors of our memory: pure. */
#ifndef TOOLS_VHOST_CHAIN_H
#define TOOLS_VHOST_CHAIN_H

#include <stdint.h>
#include <sys/uio.h>

#include "tools/vhost/memory.h"
#include "tools/vhost/ring.h"

/* The library takes 1024 vectors; header and status come on top of the data. */
#define VHOST_CHAIN_VECTORS 1026u

struct vhost_chain {
	/* What the device reads, then what it writes. */
	struct iovec iov[VHOST_CHAIN_VECTORS];
	unsigned n_in, n_out; /* n_in: to be read, from iov[0] on; n_out behind them */
	uint64_t in_len, out_len;
};

/* Follows a request's descriptors from its head on. 0, -EPROTO (they make no sense: of the ring
 * nothing can be believed any more), -EFAULT (they lead out of memory) or -E2BIG. */
int vhost_chain_read(const struct vring *ring, const struct vhost_memory *memory, uint16_t head,
		     struct vhost_chain *chain);

#endif
