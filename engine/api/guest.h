/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calls that wait for a guest's request. */
#ifndef BLOCKPULL_API_GUEST_H
#define BLOCKPULL_API_GUEST_H

#include <stdbool.h>

struct bpull_disk;
struct guest;

/* A call may wait for the disk's requests: its engine has a thread of its own. False for NULL. */
bool guest_may_wait(const struct bpull_disk *disk);
/* Submits a request and waits for its end, not on the engine's thread. 0 or -errno. *count, if
 * count is not NULL: the number of extents that a block status has found. */
int guest_run_and_wait(struct guest *g, int *count);

#endif
