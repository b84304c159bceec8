/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a guest reads of an image, from the first byte to the last, read ahead.
 */
#ifndef TOOLS_CONTENT_H
#define TOOLS_CONTENT_H

#include <stdint.h>

#include "engine/blockpull.h"

struct content;

/* What of the guest's disk is handed out at once. */
struct content_piece {
	uint64_t start, length; /* bytes */
	const uint8_t *bytes;   /* NULL: zeros */
};

/* Opens an image and its chain read-only (whatever the options say of that) on an engine that may
 * have others. 0 or -errno with a sentence. Free with content_close(). */
int content_open(struct bpull_engine *engine, const char *path,
		 const struct bpull_disk_options *options, struct content **content,
		 struct bpull_error *error);
uint64_t content_size(const struct content *content);
/* bpull_disk_hint() of it. */
const char *content_hint(const struct content *content);
/* The next piece, after the one before was used up; length 0 at the end. Its bytes are good until
 * the next call. 0 or -errno with a sentence. */
int content_next(struct content *content, struct content_piece *piece, struct bpull_error *error);
/* NULL is allowed. */
void content_close(struct content *content);

/* CONTENT_ZEROS bytes of zeros, for pieces without bytes. */
#define CONTENT_ZEROS (UINT64_C(1) << 20)
extern const uint8_t content_zeros[];

#endif
