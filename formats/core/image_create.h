/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a new image is to be. */
#ifndef BLOCKPULL_FORMATS_CORE_IMAGE_CREATE_H
#define BLOCKPULL_FORMATS_CORE_IMAGE_CREATE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct image_create {
	uint64_t guest_len;       /* bytes; a multiple of 512 for qcow2 and qed */
	uint32_t cluster_len;     /* 0: 65536 */
	const char *backing_name; /* NULL: none; as it is to be recorded */
	enum image_format backing_format;
	/* qcow2 */
	unsigned version;       /* 0: 3 */
	unsigned refcount_bits; /* 0: 16 */
	bool lazy_refcounts;
	bool zstd; /* compression type */
	/* qed */
	uint32_t table_clusters; /* 0: 4 */
};

#endif
