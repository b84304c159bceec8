/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The value of --compress. */
#ifndef TOOLS_CLI_COMPRESSION_H
#define TOOLS_CLI_COMPRESSION_H

#include <stdint.h>

#include "tools/cli/options.h"

/* The types, as enum bpull_compression. */
extern const struct options_word compression_words[];

/* Parses zlib, zstd, zlib:LEVEL, zstd:LEVEL; NULL (no value): the image's own type. Fills what
 * struct bpull_job_options calls compression and compression_level. 0, or an exit code after saying
 * what is wrong. */
int compression_parse(const char *command, const char *text, uint32_t *compression,
		      uint32_t *level);

#endif
