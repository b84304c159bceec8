/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a guest's write up to the bytes that have space already. */
#ifndef BLOCKPULL_GUEST_WRITE_H
#define BLOCKPULL_GUEST_WRITE_H

#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;
struct guest;

/* The phases PREPARE, LOCK, MAP and UNSHARE. */
enum step guest_prepare(struct guest *g);
/* The request failed. If it was preparing the disk, the next waiting request does so instead. */
void guest_prepare_failed(struct guest *g);
enum step guest_take_lock(struct guest *g);
enum step guest_map(struct guest *g);
enum step guest_unshare(struct guest *g);
/* Notes what the requests in flight may still change (down_note_written()). For an active commit,
 * as it begins and before a walk over what was written: a request notes that itself only as it
 * takes its lock, and the walk may come to its range before it writes. */
void guest_note_changes(struct bpull_disk *disk);

#endif
