/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The parts of qcow2's repair: repair.c decides and keeps the order,
 * leaks.c lowers refcounts in place, rebuild.c writes new ones behind the
 * image and switches to them.
 */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_REPAIR_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_REPAIR_H

#include <stdint.h>

#include "formats/qcow2/image/disk.h"

struct err;
struct layer;
struct qcow2_space;
struct repair;

/* Audits the image and plans its repair, changing nothing. Refuses what begin_writing
 * refuses, with its sentence; `name` is the image's, escaped. Blocks. */
int qcow2_plan_repair(struct layer *layer, const char *name, struct qcow2_space *space,
		      struct err *err);

/* layer_check_ops.repair */
int qcow2_repair(struct layer *layer, struct repair *repair, struct err *err);
/* Before the first write: refuses what is damaged, reclaims leaks, and, of an image marked dirty,
 * repairs the refcounts; layer->note says so. `name` is the image's, escaped. */
int qcow2_make_sound(struct layer *layer, const char *name, struct err *err);

/* Autoclear bits that stay true when refcounts are repaired. */
#define QCOW2_REPAIR_KEEPS (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW_DATA)

/* Ranges of leaked clusters whose space is given back when leaks are taken out; of more ranges than
 * that it is not, and the file may keep its length. */
#define QCOW2_MAX_FREED 4096u

/* The layer's repair, with windows of so many clusters. */
int qcow2_repair_windowed(struct layer *layer, struct repair *repair, struct err *err,
			  uint64_t window_clusters);

#endif
