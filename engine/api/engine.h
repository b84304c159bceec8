/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opening an engine on a given backend, as the simulated machine does. */
#ifndef BLOCKPULL_API_ENGINE_H
#define BLOCKPULL_API_ENGINE_H

#include <stdint.h>

struct bpull_engine;
struct file_opener;
struct io;

/* Opens an engine on this backend, which it takes over even on failure, and on the opener's file
 * system; the opener stays the caller's. 0 or -errno. */
int engine_open_on(struct io *io, struct file_opener *opener, uint64_t memory,
		   struct bpull_engine **out);

#endif
