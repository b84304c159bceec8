/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading the header, and the words of it that are changed in place. */
#ifndef BLOCKPULL_FORMATS_QCOW2_IMAGE_HEADER_H
#define BLOCKPULL_FORMATS_QCOW2_IMAGE_HEADER_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct file;
struct qcow2;

/* Clears autoclear bits that are not in `known` on disk, durably, and then here. Blocking. 0 or
 * -errno. */
int qcow2_clear_unknown_autoclear(struct qcow2 *q, uint64_t known);

struct header_source {
	const char *name; /* escaped */
	uint8_t *bytes;   /* the first cluster, as far as the file has it */
	size_t len;
};

/* The first cluster into src->bytes, malloc'd: header, extensions and names. 0 or -errno with a
 * sentence. */
int qcow2_read_first_cluster(struct file *file, struct header_source *src, struct err *err);

/* The header's fixed fields into *q. 0 or -errno with a sentence. */
int qcow2_parse_fixed_fields(struct qcow2 *q, const struct header_source *src, struct err *err);

/* Refuses sizes that don't fit each other. 0 or -errno with a sentence. */
int qcow2_check_geometry(struct qcow2 *q, const struct header_source *src, struct err *err);

/* The recorded name of the backing file. 0 or -errno with a sentence. */
int qcow2_read_backing_name(struct qcow2 *q, const struct header_source *src, struct err *err);

/* Clears incompatible feature bits on disk, durably, and then here. Blocking. 0 or -errno. */
int qcow2_clear_incompat(struct qcow2 *q, uint64_t bits);

#endif
