/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A check of an image built in memory, in windows of each size, and what it found; a small image
 * to break.
 */
#ifndef BLOCKPULL_TESTS_CHECK_RIG_H
#define BLOCKPULL_TESTS_CHECK_RIG_H

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/image/disk.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

#define COPIED  (UINT64_C(1) << 63)
#define PACKED  (UINT64_C(1) << 62)
#define N_GUEST 600u /* guest clusters: more than one L2 table up to 4 KiB clusters */

struct verdict {
	struct check_result result;
	uint64_t n_reads;
	uint64_t hash; /* of all texts, in any order */
	char first[512];
};

void verdict_note(void *opaque, bool is_leak, const char *text);
struct verdict verdict_of_bytes(const uint8_t *bytes, uint64_t len, uint64_t window);
struct verdict verdict_of_image(const struct build_image *image);

/* A small image to break: clusters 0..3 are data, 4 zero with a cluster, 5 compressed. */
extern const struct build_cluster check_small_clusters[7];
extern const struct build_how check_small;

#endif
