/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One queue's part of vhost-user's in-flight region, as the protocol has it. The server's own
 * declaration is not used: a mistake there would be made here, too.
 */
#ifndef BLOCKPULL_TESTS_INFLIGHT_REGION_H
#define BLOCKPULL_TESTS_INFLIGHT_REGION_H

#include <stdint.h>

struct inflight_region {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct {
		uint8_t inflight, padding[5];
		uint16_t next;
		uint64_t counter;
	} desc[];
};

#endif
