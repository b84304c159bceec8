/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Commits of a write rig, stage by stage, with the space that each lets go. */
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_WRITE_RIG_COMMIT_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_WRITE_RIG_COMMIT_H

#include <stdbool.h>

struct write_rig;

/* One group commit, in the order of engine/commit/commit.c. */
void write_rig_commit(struct write_rig *rig, bool hard);
/* What was in flight is over. */
void write_rig_drain(struct write_rig *rig);
/* As at closing: commits until nothing is dirty and no space is on its way. */
void write_rig_settle(struct write_rig *rig);

#endif
