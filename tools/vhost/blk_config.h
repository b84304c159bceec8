/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The disk's configuration space and features: pure. */
#ifndef TOOLS_VHOST_BLK_CONFIG_H
#define TOOLS_VHOST_BLK_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/vhost/protocol.h"

/* What a disk is, to guests. */
struct blk_geometry {
	uint64_t len;         /* bytes */
	uint32_t cluster_len; /* bytes: the best length of a transfer; 0: none is known */
	uint16_t n_queues;
	bool read_only;
	bool can_discard;
};

/* Sectors of the largest range that can be discarded or zeroed at once: 1 GiB. */
#define BLK_MAX_SECTORS (1u << 21)

/* The features of virtio that are offered for it. */
uint64_t blk_features(const struct blk_geometry *geometry);
/* Fills [off, off + len) of the space, which is zeros behind its end. */
void blk_config_read(const struct blk_geometry *geometry, bool write_back, uint32_t off,
		     uint32_t len, uint8_t *out);
/* The frontend writes [off, off + len). True: the range has the one byte that may be written, and
 * *write_back is what it says. */
bool blk_config_write(uint32_t off, uint32_t len, const uint8_t *bytes, bool *write_back);
/* True: each write must be durable when it is answered. */
bool blk_writes_through(uint64_t features, bool write_back);

#endif
