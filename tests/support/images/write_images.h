/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* qcow2 images for the tests of the guest's writes, and their judge. All in memory. */
#ifndef BLOCKPULL_TESTS_SUPPORT_IMAGES_WRITE_IMAGES_H
#define BLOCKPULL_TESTS_SUPPORT_IMAGES_WRITE_IMAGES_H

#include "io/file.h"
#include "tests/support/images/build_image.h"

struct file *write_image_built(const struct build_how *how);
/* Empty, over a backing file, with extended L2 entries: clusters of 16 KiB. */
struct file *write_image_extended(uint64_t guest_len, unsigned refcount_bits);
/* Empty, over a backing file, with an external data file. */
struct file *write_image_external(uint64_t guest_len, bool extended);

/* Takes an internal snapshot of the disk as it is: all tables are shared. Once; refcounts of 16
 * bits, nothing compressed; the image is not open. */
void write_image_snapshot(struct file *file);

/* Fails the test unless the image checks without errors and leaks, and the disk, or internal
 * snapshot `snapshot`, reads as want. */
void write_image_assert_sound(struct file *file, struct file *data, unsigned snapshot,
			      const uint8_t *below, uint64_t below_len, const uint8_t *want,
			      uint64_t len);

#endif
