/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Two engines in turn on one image, "top" above "base": for disks that give their image away. */
#ifndef BLOCKPULL_TESTS_INACTIVE_RIG_H
#define BLOCKPULL_TESTS_INACTIVE_RIG_H

#include "engine/blockpull.h"

#define MiB (1u << 20)
#define LEN (8u * MiB)

extern struct bpull_engine *inactive_engine;
extern struct bpull_error inactive_error;
extern char inactive_buf[MiB];

void inactive_set_up(void);
void inactive_tear_down(void);
struct bpull_disk *inactive_open_with(struct bpull_engine *with, const char *name, uint32_t flags);
struct bpull_disk *inactive_open_disk(const char *name);
/* Another engine, whose locks are as another process's. */
struct bpull_engine *inactive_open_engine(void);
void inactive_put(struct bpull_disk *disk, int byte, uint64_t off, size_t len);
void inactive_expect(struct bpull_disk *disk, int byte, uint64_t off);
void inactive_inactivate(struct bpull_disk *disk);
void inactive_activate(struct bpull_disk *disk);
int inactive_qemu_io(const char *name, const char *command);

#endif
