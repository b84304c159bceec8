/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the fuzz targets share: a simulated machine with the fuzzed image at
 * /top and a raw base at /b1, and what must hold of it whatever its bytes are.
 */
#ifndef BLOCKPULL_TESTS_FUZZ_WORLD_H
#define BLOCKPULL_TESTS_FUZZ_WORLD_H

#include "formats/core/layer.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_pull.h"

#define FUZZ_TOP      "/top"
#define FUZZ_BASE     "/b1"
#define FUZZ_BASE_LEN (96 * KiB)
/* Disks up to this are read whole. */
#define FUZZ_DISK_MAX (1 * MiB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stops the fuzzer: what must hold does not. */
#define FUZZ_CHECK(condition, ...)                              \
	do {                                                    \
		if (!(condition)) {                             \
			fprintf(stderr, __VA_ARGS__);           \
			fprintf(stderr, " (%s)\n", #condition); \
			abort();                                \
		}                                               \
	} while (0)

struct sim *fuzz_world(const uint8_t *top, size_t len);

/* What the image is, read-only and by blocking calls. */
struct fuzz_look {
	int rc; /* of opening */
	char text[1024];
	uint64_t guest_len;
	bool has_backing;
	bool is_dirty; /* its refcounts may be wrong, and are made right first */
	int check_rc;
	uint64_t n_errors, n_leaks;
	uint64_t n_stale; /* flags that are clear without need: harmless, and mended */
	int read_rc;      /* of the whole disk; -EFBIG: not tried */
	uint64_t content; /* a hash of it */
};
/* no_backing: the image alone. */
void fuzz_look(struct sim *sim, enum image_format format, bool no_backing, struct fuzz_look *look);
/* judge.c: opens, checks, reads and pulls an image of these bytes, and judges what came of it. */
void fuzz_image(enum image_format format, const uint8_t *data, size_t size);
/* A hash of a file's bytes. */
uint64_t fuzz_file_hash(const struct sim *sim, const char *name);

#endif
