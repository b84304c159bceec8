/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a benchmark's files lie: a directory of its own that is gone afterwards,
 * also after Ctrl-C.
 */
#ifndef BENCH_RIG_PLACE_H
#define BENCH_RIG_PLACE_H

#include <limits.h>
#include <stdint.h>

/* Makes the directory below `dir` (NULL: TMPDIR, else /var/tmp), on a file system with room for
 * needed_len bytes, and goes on in a child whose current directory it is. The caller's process
 * stays behind to clean up, and exits with the child's status: this returns in the child alone (0),
 * or where it failed (an exit code; that has been said). */
int place_enter(const char *dir, uint64_t needed_len);
/* The same with a second directory, below other_dir, with room for other_len: other_path, which is
 * absolute; NULL: it is ".". */
int place_enter_two(const char *dir, uint64_t needed_len, const char *other_dir, uint64_t other_len,
		    char other_path[PATH_MAX]);

/* Dirties that much memory and gives it back, in a process of its own, so that the host has given
 * it to this machine before a measured run needs it. No more than half of what is free. */
void place_touch_memory(uint64_t len);

#endif
