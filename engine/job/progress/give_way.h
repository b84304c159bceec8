/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A job that gives way by how long its guest's requests take. */
#ifndef BLOCKPULL_JOB_GIVE_WAY_H
#define BLOCKPULL_JOB_GIVE_WAY_H

#include <stdint.h>

struct bpull_disk;

/* 99 of 100 of the guest's requests are to take less than this from now on; 0: no matter. */
void give_way_set(struct bpull_disk *disk, uint64_t p99_ns, uint64_t now_ns);
/* A look at the guest's requests, where one is due: done_bytes are what the job did since its
 * start. */
void give_way_look(struct bpull_disk *disk, uint64_t done_bytes, uint64_t now_ns);
/* What is left of a limit, bytes/s; 0: none. */
uint64_t give_way_limit(const struct bpull_disk *disk, uint64_t limit);
/* And of what may go at once under it, bytes; 0: as the limiter has it. */
uint64_t give_way_burst(const struct bpull_disk *disk, uint64_t limit, uint64_t burst);

#endif
