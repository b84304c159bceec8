/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that compress and write compressed clusters. */
#ifndef BLOCKPULL_COPY_COMPRESS_H
#define BLOCKPULL_COPY_COMPRESS_H

#include "engine/core/op.h"
#include "io/base.h"

struct populate;

/* Counts the memory that compressing a large cluster will take. */
void populate_begin_compress(struct populate *p);
/* Frees what compressing took; no request is in flight. */
void populate_free_compress(struct populate *p);
/* The phase COMPRESS. */
enum step populate_compress(struct populate *p);
/* WRITE, for runs that compress. */
enum step populate_write_compressed(struct populate *p);

#endif
