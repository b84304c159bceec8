/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A qcow2 image with each kind of cluster, under a write_rig: opened as built, and closed as the
 * engine does.
 */
#ifndef BLOCKPULL_TESTS_BUILT_RIG_H
#define BLOCKPULL_TESTS_BUILT_RIG_H

#include "tests/support/images/build_image.h"
#include "tests/support/rigs/write_rig.h"

#define CLUSTER   4096u
#define N_GUEST   40u
#define BELOW_LEN (30u * CLUSTER + 700)

extern uint8_t built_below[BELOW_LEN], built_bytes[N_GUEST * CLUSTER];

enum {
	AT_DATA = 1,
	AT_ZERO = 4,
	AT_ZERO_ALLOC = 6,
	AT_COMPRESSED = 8, /* and two more behind */
	AT_NOTHING = 20
};

extern const struct build_cluster built_clusters[7];

struct build_how built_plain_how(void);
void built_open_built(struct write_rig *rig, const struct build_how *how);
/* As the engine closes it; then it must be what it should be, on disk. */
void built_close_well(struct write_rig *rig);

#endif
