/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the parts of cold.c share: pulls of a base that is not in the page cache. */
#ifndef BENCH_COLD_H
#define BENCH_COLD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/rig/scene.h"
#include "bench/rig/timed.h"

enum cold_method {
	COLD_DEVICE,    /* the base's bytes read with O_DIRECT, and nothing else */
	COLD_BLOCKPULL, /* a pull */
	COLD_CEILING,   /* the same bytes copied plainly */
	COLD_REBASE,    /* qemu-img rebase */
	COLD_N
};

struct cold {
	struct scene scene;
	unsigned base_format; /* 0: raw, 1: qcow2 */
	uint64_t rounds;
	const char *dir, *image_dir; /* NULL: where the base is */
	char image_place[PATH_MAX];  /* made below it */
	bool json;
	unsigned n_methods; /* without QEMU one less */
	struct timed_cost *costs[COLD_N];
	uint64_t *past_cache_len; /* what each round's pull has read past the page cache */
	uint64_t round;           /* that runs */
};

bool cold_has_qemu(void);
/* Makes the files that every run begins with. An exit code. */
int cold_make(const struct cold *c);
/* One run of a method, timed, behind a base that was dropped from the page cache; the first result
 * is compared. An exit code. */
int cold_one_run(struct cold *c, unsigned method);

#endif
