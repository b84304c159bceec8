/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A base of whose answers each takes its time, and that counts them. */
#ifndef BENCH_RIG_SLOW_BASE_H
#define BENCH_RIG_SLOW_BASE_H

#include <stdint.h>

#include "engine/blockpull.h"

/* A file as a source of which each answer takes delay_ns. */
struct slow_base;

/* `path` is a file of `len` bytes. NULL: errno says why. */
struct slow_base *slow_base_open(const char *path, uint64_t len, uint64_t delay_ns);
/* After the engine: no question is left. */
void slow_base_close(struct slow_base *base);
/* Questions that it was asked so far, those for a guest, and bytes in the answers. */
uint64_t slow_base_reads(struct slow_base *base);
uint64_t slow_base_guest_reads(struct slow_base *base);
uint64_t slow_base_read_len(struct slow_base *base);
/* For bpull_disk_options.find_base, with the base as its opaque: all names lead there, and are one
 * base to an engine. */
int slow_base_find(void *opaque, const struct bpull_open_request *request, struct bpull_base *found,
		   struct bpull_error *error);

#endif
