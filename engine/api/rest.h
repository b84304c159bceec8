/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Bringing a disk to rest: for closing it, a snapshot, and giving its image away. */
#ifndef BLOCKPULL_API_REST_H
#define BLOCKPULL_API_REST_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;
struct err;

/* Waits for the guest's requests, and for the copies that follow them. */
void disk_stop_guests(struct bpull_disk *disk);
/* Makes everything durable and counts space free that was let go; no job and no request is in
 * flight. If it fails, commit_is_clean() is false afterwards. Blocks. */
void disk_settle(struct bpull_disk *disk);
/* Waits until the last job's nodes are freed, which its end leaves to the next round; not while a
 * job runs. */
void disk_wait_for_nodes(struct bpull_disk *disk);
/* Gives unused space back to the file system; all is committed, and nothing is in flight.
 * Blocks. */
void disk_reclaim(struct bpull_disk *disk);
/* Something still runs beside requests and commits: space given back, tables loaded ahead. */
bool disk_is_busy(const struct bpull_disk *disk);
/* After disk_settle() has failed: sets the error and its sentence, which ends with `so`. Returns
 * -errno. */
int disk_say_not_durable(const struct bpull_disk *disk, const char *so, struct err *err);

#endif
