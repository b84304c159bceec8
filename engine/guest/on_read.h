/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copy-on-read: a guest's read of what the overlay lacks, and the copy runs that go with it. */
#ifndef BLOCKPULL_GUEST_ON_READ_H
#define BLOCKPULL_GUEST_ON_READ_H

#include <stdbool.h>

struct bpull_disk;
struct guest;
struct layer;
struct run_reader;

/* Lets a reader take its bytes, which lie in this layer, from a copy run that is in flight or begun
 * for it: the first reader->len of them, which may get less. False: they must be read without. */
bool on_read_join(struct bpull_disk *disk, const struct layer *layer, struct run_reader *reader);
/* The guest's read has all of its bytes: begins to copy what it has read below the overlay, and
 * what lies around that if the base is slow. */
void on_read_over(struct guest *g);

#endif
