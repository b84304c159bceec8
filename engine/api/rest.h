/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What closing a disk and giving its image away have in common. */
#ifndef BLOCKPULL_API_REST_H
#define BLOCKPULL_API_REST_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;
struct err;

/* Waits for the guest's requests, and for the copies that follow them. */
void disk_stop_guests(struct bpull_disk *disk);
/* Makes everything durable and counts freed space free; no job and no request is in flight. Where
 * it fails, commit_is_clean() says so. */
void disk_settle(struct bpull_disk *disk);
/* Waits for what the last job's end has left to the next round, unless a job runs. */
void disk_wait_for_nodes(struct bpull_disk *disk);
/* Takes unused space out of the file; all is committed, and nothing is in flight. Blocking. */
void disk_reclaim(struct bpull_disk *disk);
/* Something still runs beside requests and commits: space given back, tables loaded ahead. */
bool disk_is_busy(const struct bpull_disk *disk);
/* Says why disk_settle() left something in memory only, and what follows from that. Its -errno. */
int disk_say_not_durable(const struct bpull_disk *disk, const char *so, struct err *err);

#endif
