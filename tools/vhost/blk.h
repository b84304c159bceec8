/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A chain as a request to a disk (virtio 1.2, 5.2): pure. */
#ifndef TOOLS_VHOST_BLK_H
#define TOOLS_VHOST_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/vhost/chain.h"

#define BLK_SECTOR     512u
#define BLK_ID_LEN     20u
#define BLK_MAX_RANGES 16u /* of one discard, or one write-zeroes */

enum blk_status {
	BLK_OK = 0,
	BLK_IOERR = 1,
	BLK_UNSUPP = 2,
};

/* Kinds of requests; those behind BLK_ID have ended when they were decoded. */
enum blk_act {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_DISCARD,
	BLK_ZEROES,
	BLK_ID,
	BLK_ANSWER, /* with `status`, at once */
};

struct blk_range {
	uint64_t off, len;
	bool unmap; /* of write-zeroes */
};

/* What requests are judged by. */
struct blk_disk {
	uint64_t len;         /* bytes */
	uint64_t features;    /* virtio's, as acknowledged */
	bool read_only;       /* the image is */
	uint32_t max_sectors; /* of a range to be discarded or zeroed */
};

struct blk_request {
	enum blk_act act;
	enum blk_status status; /* of BLK_ANSWER */
	uint64_t off, len;      /* of the disk */
	struct iovec *iov;      /* the data: a part of the chain's vectors */
	unsigned n_iov;
	uint8_t *status_at; /* NULL: the chain has no place for a status */
	uint32_t used_len;  /* bytes written to the guest when all is well */
	struct blk_range ranges[BLK_MAX_RANGES];
	unsigned n_ranges;
};

/* Header and status are cut off the chain's vectors, which are changed. */
void blk_decode(const struct blk_disk *disk, struct vhost_chain *chain,
		struct blk_request *request);
/* The answer to BLK_ID: as much of the name, with zeros behind it, as there is room for. */
void blk_put_id(const struct blk_request *request, const char *serial);

#endif
