/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Before the first write. */
#ifndef BLOCKPULL_FORMATS_QCOW2_WRITE_BEGIN_H
#define BLOCKPULL_FORMATS_QCOW2_WRITE_BEGIN_H

#include <stdint.h>

struct err;
struct layer;
struct qcow2;

/* layer_fill_ops.begin_writing */
int qcow2_begin_writing(struct layer *layer, struct err *err);

/* One behind the last cluster in use: of the file, or of a block device the last one counted
 * there. Blocking; the table is read. 0 or -errno. */
int qcow2_used_end(struct qcow2 *q, uint64_t *end_idx);

#endif
