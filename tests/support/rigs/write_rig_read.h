/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a write rig's image says: read through the rig or afresh, checked, opened again. */
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_WRITE_RIG_READ_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_WRITE_RIG_READ_H

#include <stddef.h>
#include <stdint.h>

#include "formats/core/layer.h"
#include "io/file.h"

/* What a run touches in the tables of several disks must fit into the cache. */
#define WRITE_RIG_SNAPSHOT_CACHE_LEN (256 * KiB)

struct write_rig;

/* Reads what the guest does. */
void write_rig_read(struct write_rig *rig, uint64_t off, uint8_t *buf, uint64_t len);
/* Fails the test unless the disk reads as the model, through the tables in memory. */
void write_rig_assert_model(struct write_rig *rig);

/* How many references the host cluster has: qcow2. */
uint64_t write_rig_refs(struct write_rig *rig, uint64_t host_off);

/* Reads the image in `file` afresh: the disk, or internal snapshot `snapshot` (from 1) as if it
 * were the disk, n bytes of it into out. 0 or -errno. */
int write_rig_read_fresh(struct file *file, struct file *data, unsigned snapshot,
			 const uint8_t *below, uint64_t below_len, uint8_t *out, uint64_t len);
/* Our own check of the image as it is on disk. 0: no errors; *n_leaks. The text of the first error,
 * or else of the first leak, into why. */
int write_rig_check(struct file *file, uint64_t *n_leaks, char *why, size_t cap);

/* It may be written to again. As begin_writing(), on the file itself. */
int write_rig_reopens(struct file *file);

/* Opens the image with this data file (NULL: none or its own). 0 or -errno. */
int write_rig_open_layer(struct file *file, struct file *data, struct table_cache *cache,
			 struct layer **out);
/* What the backing file holds there; behind its end zeros. */
void write_rig_read_below(const uint8_t *below, uint64_t below_len, uint64_t off, uint8_t *buf,
			  uint64_t len);

#endif
