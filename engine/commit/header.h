/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The last part of a commit that drops the backing link: the header's write, and putting the old
 * one back.
 */
#ifndef BLOCKPULL_COMMIT_HEADER_H
#define BLOCKPULL_COMMIT_HEADER_H

#include <stdbool.h>

#include "engine/core/op.h"
#include "io/base.h"

struct commit;

/* One step of COMMIT_HEADER. */
enum step commit_header_step(struct commit *commit);
/* The tables' commit goes on, the link stays. */
enum step commit_go_on_with_link(struct commit *commit);
/* A write or a barrier failed. True: it was the new header's, and the old one is put back (I8). */
bool commit_restore_header(struct commit *commit);
/* That failed as well: neither could be written. Both lead to the same content; the job says so. */
void commit_link_unknown(struct commit *commit);

#endif
