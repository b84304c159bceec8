/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What tests of snapshots share: an engine with a thread, "top" over "base", calls and judges. */
#ifndef BLOCKPULL_TESTS_SNAPSHOT_RIG_H
#define BLOCKPULL_TESTS_SNAPSHOT_RIG_H

#include "engine/blockpull.h"

#define MiB      (1u << 20)
#define SNAP_LEN (8u * MiB)

extern struct bpull_engine *engine;
extern struct bpull_error error;

/* "base", raw and full of 0x5a, "top" over it, an engine with a thread. Skips without QEMU. */
void snap_begin(void);
void snap_end(void);
/* For a guest. */
struct bpull_disk *snap_open(const char *name, uint32_t flags);
struct bpull_disk *snap_open_as(const char *name, uint32_t flags, enum bpull_format format);
/* Bytes of the guest's; the last one reads 4096 of them. */
void snap_put(struct bpull_disk *disk, int byte, uint64_t off, size_t len);
void snap_expect(struct bpull_disk *disk, int byte, uint64_t off);
void snap_take(struct bpull_disk *disk, const char *name);
int snap_try(struct bpull_disk *disk, const char *name, const struct bpull_create_options *create,
	     uint32_t flags);
/* The exit status of one command of qemu-io on a qcow2 image. */
int snap_qemu_io(const char *option, const char *name, const char *command);
/* The image is sound, and 4096 bytes of its disk there are these. */
void snap_judge(const char *name, int byte, uint64_t off);
void snap_judge_as(const char *name, const char *format, int byte, uint64_t off);
/* What it records, by QEMU's word. */
void snap_link(const char *name, const char *backing, const char *format);

#endif
