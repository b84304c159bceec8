/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How a frontend begins, in one call: with protocol features, without them, and with a region of
 * what is in flight.
 */
#ifndef BLOCKPULL_TESTS_VHOST_START_H
#define BLOCKPULL_TESTS_VHOST_START_H

#include "tests/unit/tools/vhost_rig.h"

#define BASIC (VHOST_BIT(VIRTIO_VERSION_1) | VHOST_BIT(VIRTIO_BLK_FLUSH))
#define NEW   (BASIC | VHOST_BIT(VHOST_PROTOCOL_FEATURES))

void vhost_start(struct rig *rig, uint64_t features);
bool vhost_get_config(struct rig *rig, uint32_t off, uint32_t len);
bool vhost_set_config(struct rig *rig, uint32_t off, uint32_t len, uint8_t value);
void vhost_start_inflight(struct rig *rig);

#endif
