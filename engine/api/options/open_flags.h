/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which flags (enum bpull_disk_flags) go with which way of opening images, as
 * one table. A new flag needs a row of it and nothing else: every call that takes
 * flags asks here, and tests/unit/engine/test_open_flags.c walks all combinations of
 * the table.
 */
#ifndef BLOCKPULL_API_OPEN_FLAGS_H
#define BLOCKPULL_API_OPEN_FLAGS_H

#include <stddef.h>
#include <stdint.h>

#include "io/file/file_holes.h"

struct err;
struct layer;

/* The calls that open an image. */
enum open_way {
	OPEN_DISK,    /* bpull_disk_open() */
	OPEN_FLATTEN, /* bpull_flatten_open(): flags are the source's, which is only read */
	OPEN_INFO,    /* bpull_info_open(): only reads */
	/* bpull_image_measure(): only reads; flags may be those of the pull that is meant. */
	OPEN_MEASURE,
	OPEN_CHECK,  /* bpull_check() without a repair: only reads */
	OPEN_REPAIR, /* bpull_check() with one */
	OPEN_N_WAYS,
};

struct open_flag {
	uint32_t flag;
	uint32_t ways;  /* 1 << enum open_way: where it may be given */
	uint32_t needs; /* flags that must be given with it; a call that only reads has READ_ONLY */
	uint32_t excludes; /* flags that must not be given with it */
	const char *why;   /* the sentence of every refusal */
};

extern const struct open_flag open_flags[];
extern const size_t open_flags_n;

/* 0, or -EINVAL with a sentence. Pure. */
int open_flags_check(enum open_way way, uint32_t flags, struct err *err);
/* Which holes of a file are believed, by these flags. */
enum file_holes open_flags_holes(uint32_t flags);
/* With BPULL_DISK_DIRECT: refuses a file system without direct I/O, and clusters smaller than its
 * blocks, since two requests could each read, change and write back the same block at the same
 * time. 0, or -errno with a sentence. */
int open_flags_check_direct(uint32_t flags, const struct layer *overlay, struct err *err);

#endif
