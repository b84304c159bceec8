/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading past the page cache. */
#ifndef BLOCKPULL_IO_POSIX_PAST_CACHE_H
#define BLOCKPULL_IO_POSIX_PAST_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct file;

/* What direct requests of the descriptor are aligned to; 1 where O_DIRECT is off, or refused after
 * all: it is off then. */
uint32_t posix_direct_align(int fd, bool is_block);
/* A description for reads past the page cache, where that is of use. May wait. */
void posix_open_past_cache(struct file *file);

#endif
