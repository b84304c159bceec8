/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The check's walk over the tables. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_WALK_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_WALK_H

#include "formats/qcow2/check/check.h"

struct qcow2_check;

/* Sets l2_end. 0 or -errno. */
int check_find_l2_end(struct qcow2_check *c);
/* Counts the L2 tables that lie in the source window and, walking each once, what they refer to.
 * 0 or -errno. */
int check_walk_source(struct qcow2_check *c);

#endif
