/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Jobs in a convoy, for tests of its rules. */
#ifndef BLOCKPULL_TESTS_CONVOY_RIG_H
#define BLOCKPULL_TESTS_CONVOY_RIG_H

#include "engine/core/convoy.h"
#include "engine/core/kept.h"
#include "io/base.h"

#define MS     UINT64_C(1000000)
#define LEN    (64 * MiB)
#define WINDOW (8 * MiB)

struct convoys rig_new_convoys(void);
struct convoy_place rig_at(uint64_t lap, uint64_t guest_off);
void rig_join(struct convoys *convoys, struct convoy_member *m, struct convoy_place want);
bool rig_lets_go(const struct convoys *convoys, const struct convoy_member *m, uint64_t lap,
		 uint64_t guest_off);

extern const uint8_t rig_bytes[KEPT_MAX_LEN];

/* The first two are at the window's end and wait for the third, whose runs take long. */
void rig_three(struct convoys *convoys, struct convoy_member m[3]);
/* They leave, and nothing else is left. */
void rig_end_three(struct convoys *convoys, struct convoy_member m[3]);
void rig_keep(struct kept_set *set, uint64_t guest_off, uint32_t len);

#endif
