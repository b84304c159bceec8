/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that read and decode. */
#ifndef BLOCKPULL_COPY_READ_H
#define BLOCKPULL_COPY_READ_H

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* The phase READ. */
enum step copy_run_read(struct copy_run *p);
/* The phase DECODE. */
enum step copy_run_decode(struct copy_run *p);

#endif
