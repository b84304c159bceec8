/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The check of structures beside the tables: snapshots, bitmaps, extensions. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_META_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_META_H

#include "formats/qcow2/check/check.h"

struct qcow2_check;

/* Reads the snapshot table into c->snapshots. 0 or -errno. */
int check_load_snapshots(struct qcow2_check *c);
/* Counts all but L2 tables and what they refer to. 0 or -errno. */
int check_count_metadata(struct qcow2_check *c);

#endif
