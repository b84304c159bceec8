/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phase of a copy run that writes compressed clusters. */
#ifndef BLOCKPULL_COPY_COMPRESS_WRITE_H
#define BLOCKPULL_COPY_COMPRESS_WRITE_H

#include "engine/core/op.h"

struct copy_run;

/* WRITE, for runs that compress. */
enum step copy_run_write_compressed(struct copy_run *p);

#endif
