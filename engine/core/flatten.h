/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The new file of a disk that is being flattened. */
#ifndef BLOCKPULL_CORE_FLATTEN_H
#define BLOCKPULL_CORE_FLATTEN_H

#include <stdint.h>

struct new_file;

struct flatten {
	struct new_file *file; /* NULL until it is created */
	uint64_t raw_len;      /* bytes that a raw file must have; 0: the format decides */
};

#endif
