/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A manifest that is being read. */
#ifndef TOOLS_BASES_MANIFEST_STATE_H
#define TOOLS_BASES_MANIFEST_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/bases/manifest.h"

struct manifest_reading {
	const char *file;
	uint64_t line; /* from 1 */
	struct manifest *manifest;
	uint64_t room; /* digests that there is memory for */
	struct bpull_error *error;
};

/* Says what is wrong, behind the file's name and the line. -EINVAL. */
int manifest_bad(const struct manifest_reading *reading, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Says why the file can't be read, or kept. rc. */
int manifest_fail(const struct manifest_reading *reading, int rc);
/* 0, or -EINVAL (said): `text` does not begin with a hash. */
int manifest_hash(const struct manifest_reading *reading, const char *text, uint8_t digest[16]);
/* The next chunk. 0, -EINVAL or -ENOMEM (said). */
int manifest_add(struct manifest_reading *reading, const uint8_t digest[16], uint64_t start,
		 uint64_t length);
/* All were added. 0 or -EINVAL (said). */
int manifest_finish(const struct manifest_reading *reading);
/* The JSON form, whose first character was not read yet. 0 or -errno (said). */
int manifest_read_json(struct manifest_reading *reading, FILE *file);

#endif
