/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Two engines, a disk on each, and libvirt's handle: for calls that are given what they refuse. */
#ifndef BLOCKPULL_TESTS_NULL_RIG_H
#define BLOCKPULL_TESTS_NULL_RIG_H

#include "engine/blockpull-libvirt.h"

#define BASE_LEN (1u << 20)

extern struct bpull_engine *null_engine, *null_threaded;
extern struct bpull_disk *null_disk, *null_other; /* of each */
extern struct bpull_virt *null_virt;
extern struct bpull_info *null_info;
extern struct bpull_error null_error;
extern char null_top[512], null_out[512];

void null_dirty(void);
struct bpull_disk *null_open_disk(struct bpull_engine *on, const char *name);
void null_begin(void);
void null_end(void);
void null_no_event(struct bpull_virt *from, const char *path, int type, int status, void *opaque);

#endif
