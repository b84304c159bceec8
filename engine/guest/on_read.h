/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copy-on-read: a guest's read of what the overlay lacks, and the copy runs that go with it. */
#ifndef BLOCKPULL_GUEST_ON_READ_H
#define BLOCKPULL_GUEST_ON_READ_H

struct guest;

/* The guest's read has all of its bytes: what it has read below the overlay is copied into it, as
 * far as buffers are free, with what lies around it where that took long. */
void on_read_over(struct guest *g);

#endif
