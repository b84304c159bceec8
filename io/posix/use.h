/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Files that the program gave, while they are in use. */
#ifndef BLOCKPULL_IO_POSIX_USE_H
#define BLOCKPULL_IO_POSIX_USE_H

struct given_use;
struct posix_lookup;

/* The opened file, which the program gave, is in use from now on: sets lookup->use, and the flags
 * of its description. 0 or -errno. */
int posix_use_begin(struct posix_lookup *lookup);
/* Ends that. NULL is allowed. */
void posix_use_end(struct given_use *use);

#endif
