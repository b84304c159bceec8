/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See vhost_start.h. */
#include "tests/unit/tools/vhost_start.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/tools/vhost_rig.h"

void vhost_start(struct rig *rig, uint64_t features)
{
	rig_open(rig);
	cr_assert(rig_protocol(rig, VHOST_PROTOCOL_OFFERED));
	cr_assert(rig_features(rig, features));
	cr_assert(rig_table(rig));
	cr_assert(rig_ring(rig));
}

bool vhost_get_config(struct rig *rig, uint32_t off, uint32_t len)
{
	const struct vhost_config_message m = { .off = off, .len = len };
	uint32_t sent = len < VHOST_MAX_CONFIG ? len : VHOST_MAX_CONFIG;

	return rig_say(rig, VHOST_GET_CONFIG, 0, &m, VHOST_CONFIG_HEAD + sent, NULL, 0);
}

bool vhost_set_config(struct rig *rig, uint32_t off, uint32_t len, uint8_t value)
{
	struct vhost_config_message m = { .off = off, .len = len };

	memset(m.bytes, value, sizeof(m.bytes));
	return rig_say(rig, VHOST_SET_CONFIG, 0, &m, VHOST_CONFIG_HEAD + len, NULL, 0);
}

void vhost_start_inflight(struct rig *rig)
{
	cr_assert(rig_protocol(rig, VHOST_PROTOCOL_OFFERED));
	cr_assert(rig_features(rig, BASIC));
	cr_assert(rig_table(rig));
	cr_assert(rig_inflight(rig));
	cr_assert(rig_ring(rig));
	cr_assert(rig_kick(rig));
}
