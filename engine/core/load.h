/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Loading table slices for operations that need them. */
#ifndef BLOCKPULL_CORE_LOAD_H
#define BLOCKPULL_CORE_LOAD_H

#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;
struct table_need;

/* Makes the operation wait for a table, loading it if no operation does yet. */
enum step op_wait_table(struct op *op, const struct table_need *need);
/* Begins to load what a walk of the disk that missed this table at guest_off will want next of the
 * same layer. The job is not over before these loads are (disk.n_background). */
void load_ahead(struct bpull_disk *disk, const struct table_need *missed, uint64_t guest_off);

#endif
