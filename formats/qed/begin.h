/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Before the first write. */
#ifndef BLOCKPULL_FORMATS_QED_BEGIN_H
#define BLOCKPULL_FORMATS_QED_BEGIN_H

#include <stdint.h>

struct check_result;
struct err;
struct layer;
struct qed;

/* layer_tables_ops.measure. Audits all tables first, as qed_begin_writing() does. */
int qed_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		struct err *err);

/* layer_fill_ops.begin_writing */
int qed_begin_writing(struct layer *layer, struct err *err);

#endif
