/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Checking an image. */
#ifndef BLOCKPULL_FORMATS_QED_CHECK_H
#define BLOCKPULL_FORMATS_QED_CHECK_H

struct check_result;
struct err;
struct layer;

/* layer_check_ops.check */
int qed_check(struct layer *layer, struct check_result *result, struct err *err);

#endif
