/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The life of a guest's requests, seen from the engine's rounds. */
#ifndef BLOCKPULL_GUEST_GUEST_H
#define BLOCKPULL_GUEST_GUEST_H

#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;

/* Runs after every round: begins commits that are due, frees space for reuse that no request can
 * read any more. */
void guest_run(struct bpull_disk *disk, uint64_t now_ns);
/* The time at which guest_run() has something to do by itself; UINT64_MAX: never. */
uint64_t guest_deadline_ns(const struct bpull_disk *disk);

extern const struct op_kind guest_op_kind;

#endif
