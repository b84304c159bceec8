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
/* The commit of the tables goes on, as a hard one; the link stays. */
enum step commit_go_on_with_link(struct commit *commit);
/* A write or a barrier failed. True: it was the new header's, and the old one is put back (I8). */
bool commit_restore_header(struct commit *commit);
/* Putting the old header back failed as well. Both headers lead to the same content; the job's
 * message says that it is not known which of them is on disk. */
void commit_link_unknown(struct commit *commit);

#endif
