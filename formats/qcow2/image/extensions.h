/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Header extensions. */
#ifndef BLOCKPULL_FORMATS_QCOW2_IMAGE_EXTENSIONS_H
#define BLOCKPULL_FORMATS_QCOW2_IMAGE_EXTENSIONS_H

#include <stddef.h>
#include <stdint.h>

#include "io/base.h"

struct err;
struct qcow2;

/* Reads the header extensions in cluster 0 into *q; unknown ones are stepped over. 0 or -errno with
 * a sentence. */
int qcow2_read_extensions(struct qcow2 *q, const uint8_t *cluster0, size_t len, struct err *err);
/* The recorded name of an incompatible feature bit into out, or "bit N". */
void qcow2_feature_name(const uint8_t *cluster0, size_t len, uint32_t header_len, unsigned bit,
			char *out, size_t cap);

/* The first cluster, and what of it the backing link and the extensions take. Offsets are bytes in
 * it. */
struct qcow2_parts {
	uint8_t *bytes;
	size_t len;
	size_t ext_end;        /* behind the end marker */
	uint64_t name_off;     /* the backing file's name */
	size_t name_len, tail; /* tail: end of the extensions, in front of the end marker */
	bool needs_marker;     /* there is none: the name's begin is the end */
	size_t format_off;     /* the format extension's head; 0: there is none */
	size_t mark_off;       /* the head of the extension of mark.c; 0: there is none */
};

/* Fills all but bytes and len; qcow2_read_extensions() has found every length sound. */
void qcow2_find_parts(const struct qcow2 *q, struct qcow2_parts *parts);

#endif
