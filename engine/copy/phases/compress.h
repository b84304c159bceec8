/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that compress and write compressed clusters. */
#ifndef BLOCKPULL_COPY_COMPRESS_H
#define BLOCKPULL_COPY_COMPRESS_H

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* A run is begun: counts the memory that compressing a large cluster will take. */
void copy_run_begin_compress(struct copy_run *p);
/* Frees what compressing took; no request is in flight. */
void copy_run_free_compress(struct copy_run *p);
/* The phase COMPRESS. */
enum step copy_run_compress(struct copy_run *p);

#endif
