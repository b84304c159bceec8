/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Loading table slices for operations that need them. */
#ifndef BLOCKPULL_CORE_LOAD_H
#define BLOCKPULL_CORE_LOAD_H

#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;
struct table_need;

/* Makes the operation wait for a table, and begins to load it unless that is under way. STEP_NEXT:
 * the operation is in error. */
enum step op_wait_table(struct op *op, const struct table_need *need);
/* A walk of the disk has missed this table at guest_off: begins to load the tables of the same
 * layer that the walk will want next. The job is not over before these loads are
 * (disk.n_background). */
void load_ahead(struct bpull_disk *disk, const struct table_need *missed, uint64_t guest_off);

#endif
