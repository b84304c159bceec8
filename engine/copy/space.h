/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where a copy run's bytes go. */
#ifndef BLOCKPULL_COPY_SPACE_H
#define BLOCKPULL_COPY_SPACE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/core/table_cache.h"
#include "io/base.h"

struct copy_run;
struct mapping;

struct run_space {
	struct table_need need; /* of the last call that answered TABLE_NEED */
	uint32_t reserved_to;   /* bytes of the run whose host space is decided */
	struct mapping *maps;   /* written, then published */
	size_t n_maps, maps_cap;
	struct mapping *spaces; /* reserved for them: whole clusters */
	size_t n_spaces, spaces_cap;
};

/* Notes where a part of the run goes, or that it reads zeros. 0 or -ENOMEM. */
int run_space_add(struct copy_run *p, const struct mapping *map);
int run_space_add_zero(struct copy_run *p, uint64_t guest_off, uint64_t len);
/* [off, off + len) of the run holds nothing but zeros: it gets no entry, or one that says so. */
int run_space_leave_zeros(struct copy_run *p, uint32_t off, uint32_t len);
/* Decides where [off, off + len) of the run goes, plain, in one range where it can, and moves
 * reserved_to on behind what succeeded. 0, TABLE_NEED or -errno. */
int run_space_reserve(struct copy_run *p, uint32_t off, uint32_t len);
void run_space_free(struct copy_run *p);

#endif
