/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Guests see sectors of 512 bytes on blocks of 4 KiB: so the disk boots with any
 * firmware, and a guest's file system uses blocks that the host's does.
 */
#include "tools/vhost/blk_config.h"

#include <stddef.h>
#include <string.h>

#include "tools/vhost/blk.h"

/* struct virtio_blk_config, of virtio 1.2. */
struct config {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
	uint32_t reserved;
};
_Static_assert(offsetof(struct config, writeback) == 32, "frontends count on it");
_Static_assert(offsetof(struct config, reserved) == 60, "frontends count on it");

#define SEG_MAX      126 /* with header and status in a ring of 128 */
#define PHYSICAL_EXP 3   /* 4096 bytes */

uint64_t blk_features(const struct blk_geometry *g)
{
	uint64_t features = VHOST_BIT(VIRTIO_VERSION_1) | VHOST_BIT(VHOST_PROTOCOL_FEATURES) |
			    VHOST_BIT(VIRTIO_INDIRECT_DESC) | VHOST_BIT(VIRTIO_EVENT_IDX) |
			    VHOST_BIT(VHOST_LOG_ALL) | VHOST_BIT(VIRTIO_BLK_SEG_MAX) |
			    VHOST_BIT(VIRTIO_BLK_BLK_SIZE) | VHOST_BIT(VIRTIO_BLK_TOPOLOGY) |
			    VHOST_BIT(VIRTIO_BLK_FLUSH) | VHOST_BIT(VIRTIO_BLK_CONFIG_WCE) |
			    VHOST_BIT(VIRTIO_BLK_MQ);

	if (g->read_only)
		return features | VHOST_BIT(VIRTIO_BLK_RO);
	features |= VHOST_BIT(VIRTIO_BLK_WRITE_ZEROES);
	return g->can_discard ? features | VHOST_BIT(VIRTIO_BLK_DISCARD) : features;
}

void blk_config_read(const struct blk_geometry *g, bool write_back, uint32_t off, uint32_t len,
		     uint8_t *out)
{
	uint32_t cluster = g->cluster_len / BLK_SECTOR;
	struct config config = {
		.capacity = g->len / BLK_SECTOR,
		.seg_max = SEG_MAX,
		.blk_size = BLK_SECTOR,
		.physical_block_exp = PHYSICAL_EXP,
		.min_io_size = 1u << PHYSICAL_EXP,
		.opt_io_size = cluster,
		.writeback = write_back,
		.num_queues = g->n_queues,
		.max_discard_sectors = BLK_MAX_SECTORS,
		.max_discard_seg = BLK_MAX_RANGES,
		.discard_sector_alignment = cluster ? cluster : 1u << PHYSICAL_EXP,
		.max_write_zeroes_sectors = BLK_MAX_SECTORS,
		.max_write_zeroes_seg = BLK_MAX_RANGES,
		.write_zeroes_may_unmap = 1,
	};

	memset(out, 0, len);
	if (off < sizeof(config))
		memcpy(out, (const uint8_t *)&config + off,
		       len < sizeof(config) - off ? len : sizeof(config) - off);
}

bool blk_config_write(uint32_t off, uint32_t len, const uint8_t *bytes, bool *write_back)
{
	const uint32_t at = offsetof(struct config, writeback);

	if (off > at || at - off >= len)
		return false;
	*write_back = bytes[at - off];
	return true;
}

bool blk_writes_through(uint64_t features, bool write_back)
{
	if (features & VHOST_BIT(VIRTIO_BLK_CONFIG_WCE))
		return !write_back;
	return !(features & VHOST_BIT(VIRTIO_BLK_FLUSH));
}
