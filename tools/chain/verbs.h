/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The verbs of this room. */
#ifndef TOOLS_CHAIN_VERBS_H
#define TOOLS_CHAIN_VERBS_H

#include "tools/cli/command.h"

extern const struct command commit_command;
extern const struct command compact_command;
extern const struct command snapshot_command;

#endif
