/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Small QED images that the tests damage or change, and the check as a test
 * wants it.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_IMAGES_QED_IMAGES_H
#define BLOCKPULL_TESTS_SUPPORT_IMAGES_QED_IMAGES_H

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "io/base.h"
#include "io/file.h"

/* Both lie in a mem_file; the caller closes it. */

/* Clusters of 4 KiB, tables of 2, guest 1 MiB: header, L1 at 4096, empty; 12 KiB long. */
struct file *qed_images_small(void);
/* Clusters of 4 KiB, tables of 1: header, L1, L2 at 8192, data at 12288 and 16384. Guest 0 and
 * 4096 are data, 8192 is zero. */
struct file *qed_images_sound(void);

struct qed_images_reports {
	unsigned n_errors, n_leaks;
	char last[256];
};

/* Opens, checks and closes the image; at most 100 reports. */
struct check_result qed_images_check(struct file *file, struct qed_images_reports *reports);

#endif
