/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A copy run's life. */
#ifndef BLOCKPULL_COPY_RUN_H
#define BLOCKPULL_COPY_RUN_H

#include "engine/core/op.h"

extern const struct op_kind copy_run_kind;

#endif
