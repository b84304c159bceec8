/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_COPY_MAP_H
#define BLOCKPULL_COPY_MAP_H

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* The phase MAP of a run that goes into the overlay. */
enum step copy_run_map(struct copy_run *p);

#endif
