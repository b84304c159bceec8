/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockpull-bench boot, in two files: what is measured (boot.c) and a base that is slow. */
#ifndef BENCH_BOOT_H
#define BENCH_BOOT_H

#include <stdint.h>

#include "engine/blockpull.h"

/* A file as a source of which each answer takes delay_ns. */
struct slow_base;

/* `path` is a file of `len` bytes. NULL: errno says why. */
struct slow_base *slow_base_open(const char *path, uint64_t len, uint64_t delay_ns);
/* After the engine: no question is left. */
void slow_base_close(struct slow_base *base);
/* Questions that it was asked so far. */
uint64_t slow_base_reads(struct slow_base *base);
/* For bpull_disk_options.find_base, with the base as its opaque: all names lead there. */
int slow_base_find(void *opaque, const struct bpull_open_request *request, struct bpull_base *found,
		   struct bpull_error *error);

#endif
