/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calls that wait for a guest's request. */
#ifndef BLOCKPULL_API_GUEST_H
#define BLOCKPULL_API_GUEST_H

#include <stdbool.h>

struct bpull_disk;
struct guest;

/* The disk's engine has a thread of its own, so that a call may wait; false for NULL. */
bool guest_may_wait(const struct bpull_disk *disk);
/* Runs a request and waits for its end: 0 or -errno; *count: the number of extents, or NULL. Not on
 * the engine's thread. */
int guest_run_and_wait(struct guest *g, int *count);

#endif
