/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What `blockpull hash --chunk=SIZE -f raw` printed of a disk, as text or with --json: what the
 * bytes of a base must be. */
#ifndef TOOLS_BASES_MANIFEST_H
#define TOOLS_BASES_MANIFEST_H

#include <stdint.h>

struct bpull_error;

#define MANIFEST_HASH_LEN 32 /* characters of a hash */

struct manifest {
	uint8_t (*digests)[16]; /* of each chunk, in canonical form; owned */
	uint64_t n;             /* chunks, one at least */
	uint32_t chunk_size;    /* bytes: a power of two from 4 KiB to 4 MiB */
	uint64_t length;        /* bytes of the disk */
};

/* Reads it, and believes nothing that `blockpull hash` would not print. 0, or -errno with a
 * sentence that names the file, and the line: -EINVAL it is no such manifest; -ENOMEM; what reading
 * says. Free it in any case. */
int manifest_read(const char *file, struct manifest *manifest, struct bpull_error *error);
void manifest_free(struct manifest *manifest);

#endif
