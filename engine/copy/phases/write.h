/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that write. */
#ifndef BLOCKPULL_COPY_WRITE_H
#define BLOCKPULL_COPY_WRITE_H

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* The phase WRITE. */
enum step copy_run_write(struct copy_run *p);
/* The phase FILL. */
enum step copy_run_fill(struct copy_run *p);

#endif
