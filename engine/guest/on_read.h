/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copy-on-read: a guest's read of what the overlay lacks, and the copy runs that go with it. */
#ifndef BLOCKPULL_GUEST_ON_READ_H
#define BLOCKPULL_GUEST_ON_READ_H

#include <stdbool.h>

struct bpull_disk;
struct guest;
struct layer;
struct run_reader;

/* What the reader wants lies in this layer, and is taken from a copy run, reader->len bytes of it.
 * False: it is to be read without. */
bool on_read_join(struct bpull_disk *disk, const struct layer *layer, struct run_reader *reader);
/* The guest's read has all of its bytes: what it has read below the overlay is copied, and what
 * lies around it where that is slow. */
void on_read_over(struct guest *g);

#endif
