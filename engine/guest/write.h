/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a guest's write up to the bytes that have their place. */
#ifndef BLOCKPULL_GUEST_WRITE_H
#define BLOCKPULL_GUEST_WRITE_H

#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;
struct guest;

/* The phases of those names. */
enum step guest_prepare(struct guest *g);
/* The request failed. If it was preparing the disk, the next waiting request may. */
void guest_prepare_failed(struct guest *g);
enum step guest_take_lock(struct guest *g);
enum step guest_map(struct guest *g);
enum step guest_unshare(struct guest *g);
/* Notes what the requests in flight are about to change, for a commit whose walk may come before
 * them: as it begins, of those that did not see it. */
void guest_note_changes(struct bpull_disk *disk);

#endif
