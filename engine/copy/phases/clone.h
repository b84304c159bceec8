/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copy runs that share blocks of the source file instead of copying bytes. */
#ifndef BLOCKPULL_COPY_CLONE_H
#define BLOCKPULL_COPY_CLONE_H

#include <stdint.h>

#include "engine/copy/walk/plan.h"
#include "engine/core/op.h"
#include "formats/chain/chain.h"

struct bpull_disk;
struct copy_run;
struct table_need;

/* Finds how much of [guest_off, guest_off + max_len), which the overlay lacks, one clone can bring:
 * e->len bytes from e->host_off in the file of layer e->depth. e->len 0: the range must be copied.
 * 0, TABLE_NEED or -errno. */
int copy_run_find_clone(struct bpull_disk *disk, uint64_t guest_off, uint64_t max_len,
			struct extent *e, struct table_need *need);

/* What MAP does for a run that clones; `action` and `unallocated` are plan_next()'s answer. */
enum step copy_run_map_clone(struct copy_run *p, enum plan_action action, uint64_t unallocated);
/* The phases CLONE and CLONED. */
enum step copy_run_clone(struct copy_run *p);
enum step copy_run_cloned(struct copy_run *p);
/* Frees what cloning took; no request is in flight. */
void copy_run_free_clones(struct copy_run *p);

#endif
