/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Turns internal errors and extents into the public structs. */
#ifndef BLOCKPULL_CORE_EXPORT_H
#define BLOCKPULL_CORE_EXPORT_H

#include <stdbool.h>

#include "engine/blockpull.h"

struct chain;
struct err;
struct extent;

/* Fills a public error from an internal one. Returns err->code. */
int error_export(const struct err *err, struct bpull_error *out);
/* Fills a public error, if out is not NULL. Returns code. */
int error_fill(struct bpull_error *out, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* An extent as the public interface has it. */
struct bpull_extent extent_export(const struct chain *chain, const struct extent *e);
/* Makes *last longer by *next, which follows it. False: they differ, and nothing has changed. */
bool extent_merge(struct bpull_extent *last, const struct bpull_extent *next);

#endif
