/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An open QED image under test, with what the engine does around it: loading
 * the tables that are asked for, writing data before it is published, and
 * commits stage by stage. Everything blocks and asserts.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_QED_RIG_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_QED_RIG_H

#include "formats/core/image_create.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "io/err.h"
#include "io/file.h"

struct qed_rig {
	struct file *file;
	struct table_cache *cache;
	struct layer *layer;
};

/* Opens the image in `file`, which stays the caller's, with a cache of its own. 0 or -errno. */
int qed_rig_open(struct qed_rig *rig, struct file *file, struct err *err);
void qed_rig_close(struct qed_rig *rig);
/* A fresh image in an empty file; also with tables of one cluster, or that reach too far for QEMU,
 * which qed_create() refuses. 0 or -errno. */
int qed_rig_make(struct file *file, const struct image_create *how, struct err *err);
/* Makes one, opens it and calls begin_writing(). */
void qed_rig_create(struct qed_rig *rig, struct file *file, const struct image_create *how);

int qed_rig_map(struct qed_rig *rig, uint64_t guest_off, uint64_t len, struct extent *out);
int qed_rig_publish(struct qed_rig *rig, const struct mapping *maps, size_t n_maps);
/* Takes what is dirty, cache and format both. */
void qed_rig_stage(struct qed_rig *rig, struct staged *staged);
/* All stages in order. */
void qed_rig_commit(struct qed_rig *rig);

/* Bytes that tell where they belong, different for each seed. len is a multiple of 8. */
void qed_rig_pattern(void *buf, size_t len, uint64_t guest_off, uint64_t seed);

#endif
