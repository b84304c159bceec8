/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where a copy run's bytes go: its entries to be, and the host space for them. */
#ifndef BLOCKPULL_COPY_SPACE_H
#define BLOCKPULL_COPY_SPACE_H

#include <stdint.h>

#include "io/base.h"

struct copy_run;
struct mapping;

/* Notes an entry to be: where a part of the run goes, or that it reads as zeros. 0 or -ENOMEM. */
int run_space_add(struct copy_run *p, const struct mapping *map);
int run_space_add_zero(struct copy_run *p, uint64_t guest_off, uint64_t len);
/* [off, off + len) of the run is all zeros: it gets a zero entry if the run keeps zeros, else none.
 * 0 or -ENOMEM. */
int run_space_leave_zeros(struct copy_run *p, uint32_t off, uint32_t len);
/* Decides where [off, off + len) of the run goes, plain, in one range where it can, and moves
 * reserved_to on behind what succeeded. 0, TABLE_NEED or -errno. */
int run_space_reserve(struct copy_run *p, uint32_t off, uint32_t len);
void run_space_free(struct copy_run *p);

#endif
