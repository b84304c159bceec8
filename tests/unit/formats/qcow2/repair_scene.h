/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Images built in memory, each with one fault of its refcounts or flags, and what repair should
 * make of it.
 */
#ifndef BLOCKPULL_TESTS_REPAIR_SCENE_H
#define BLOCKPULL_TESTS_REPAIR_SCENE_H

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "tests/support/images/build_image.h"

#define COPIED  (UINT64_C(1) << 63)
#define N_GUEST 80u

enum outcome {
	LEAKS, /* --repair=leaks is enough */
	ALL,   /* only --repair=all mends it */
	NEVER, /* left as it is */
};

struct scene {
	struct build_cluster clusters[10];
	struct build_how how;
	struct build_image image;
	unsigned order;
	uint64_t data_idx; /* host cluster of a plain data cluster, guest 2 */
};

void scene_make(struct scene *s, unsigned cluster_bits, unsigned refcount_bits);
/* As after a crash: the guest's cluster was copied elsewhere, the old one is still counted. */
void scene_leak_inside(struct scene *s);
void scene_stale_flags(struct scene *s);
void scene_nothing_counted(struct scene *s);
void scene_only_dirty(struct scene *s);

struct fault {
	const char *what;
	void (*plant)(struct scene *s);
	enum outcome outcome;
	unsigned min_bits; /* of refcounts */
};

#define N_REPAIR_FAULTS 14
extern const struct fault repair_faults[N_REPAIR_FAULTS];

#endif
