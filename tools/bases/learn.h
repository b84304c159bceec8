/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a base's content is, by reading all of it. */
#ifndef TOOLS_BASES_LEARN_H
#define TOOLS_BASES_LEARN_H

#include <stdint.h>

#include "tools/bases/manifest.h"

struct bpull_error;
struct bpull_source;

/* Reads the source from its first byte to its last, on the caller's thread, and closes it not:
 * *manifest gets digests of its chunks, and `whole` that of all, in canonical form. stops(), where
 * it is given, says now and then that the program is to end (not 0). 0, or -errno with a sentence;
 * -EINTR: stopped. Free the manifest in any case. */
int learn_content(const struct bpull_source *source, const char *name, int (*stops)(void),
		  struct manifest *manifest, uint8_t whole[16], struct bpull_error *error);

#endif
