/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Header extensions. */
#ifndef BLOCKPULL_FORMATS_QCOW2_IMAGE_EXTENSIONS_H
#define BLOCKPULL_FORMATS_QCOW2_IMAGE_EXTENSIONS_H

#include <stddef.h>
#include <stdint.h>

#include "io/base.h"

struct err;
struct qcow2;
struct qcow2_parts;

/* Walks the header extensions in cluster 0. Fills what it knows, keeps its hands off
 * the rest. 0 or -errno with a sentence. */
int qcow2_read_extensions(struct qcow2 *q, const uint8_t *cluster0, size_t len, struct err *err);
/* The recorded name of an incompatible feature bit into out, or "bit N". */
void qcow2_feature_name(const uint8_t *cluster0, size_t len, uint32_t header_len, unsigned bit,
			char *out, size_t cap);

/* Fills the rest; qcow2_read_extensions() has found every length sound. */
void qcow2_find_parts(const struct qcow2 *q, struct qcow2_parts *parts);

#endif
