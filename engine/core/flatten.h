/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The new file of a disk that is being flattened. */
#ifndef BLOCKPULL_CORE_FLATTEN_H
#define BLOCKPULL_CORE_FLATTEN_H

#include <stddef.h>
#include <stdint.h>

#include "io/posix_dir.h"

struct flatten {
	char *out_name, *temp_name;
	struct posix_dir dir; /* both lie in it; held since nothing may be opened at the end */
	size_t kept;          /* bytes of the wanted name that the temporary one may hold */
	mode_t mode;          /* for the finished file, of 0777 */
	uint64_t raw_len;     /* exact bytes of a raw file; 0: the format's business */
};

#endif
