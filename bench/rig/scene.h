/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The images that are pulled: a base or a chain with data of one shape, an
 * overlay on it, and the same bytes back to back for the plain copy.
 * All in the current directory, under fixed names.
 */
#ifndef BENCH_RIG_SCENE_H
#define BENCH_RIG_SCENE_H

#include <stdint.h>

#include "engine/blockpull.h"

enum scene_pattern {
	SCENE_DENSE,     /* a full raw base */
	SCENE_SCATTERED, /* pieces of 64 KiB, evenly over a raw base */
	SCENE_HALF,      /* a full raw base; every other cluster is the overlay's own */
	SCENE_CHAIN,     /* 16 images, which have pieces of 256 KiB in turn */
};

struct scene {
	enum scene_pattern pattern;
	enum bpull_format format;
	uint64_t size;         /* of the guest's disk, bytes */
	uint64_t data_len;     /* that the chain holds, bytes */
	uint32_t cluster_size; /* of the overlay and of a chain's images */
};

/* Rounds what the user asked for (0: defaults) to what the pattern can be. */
void scene_settle(struct scene *scene);
/* Bytes a pull has to move. */
uint64_t scene_moved_len(const struct scene *scene);
/* Room that all files together may take, a pulled overlay and a plain copy among them. */
uint64_t scene_room(const struct scene *scene);

/* Makes base (or layer0 to layer15), fresh and packed. 0 or an exit code. */
int scene_make(const struct scene *scene);
/* fresh -> `name`, durable. */
int scene_fresh(const char *name);
/* Reads the chain and fresh once, so that they are in the page cache. */
int scene_warm(void);
/* 0: a pulled image is sound, stands alone, and has every byte. Else an exit code. */
int scene_judge(const struct scene *scene, const char *name);

/* A file of `len` bytes, [off, off + data_len) of it data, the rest a hole. */
int scene_raw(const char *name, uint64_t len, uint64_t off, uint64_t data_len);
/* An overlay on `backing` (NULL: none). */
int scene_overlay(const char *name, enum bpull_format format, uint64_t size, uint32_t cluster_size,
		  const char *backing, enum bpull_format backing_format);
/* Options that open it: qed does not record its backing file's format. */
struct bpull_disk_options scene_disk_options(enum bpull_format format, uint32_t flags);
/* The bytes at guest_off: 8-aligned, as are their number and place. */
void scene_content(void *buf, uint64_t len, uint64_t guest_off);

#endif
