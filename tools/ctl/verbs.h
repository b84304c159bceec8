/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The verb of this room. */
#ifndef TOOLS_CTL_VERBS_H
#define TOOLS_CTL_VERBS_H

#include "tools/cli/command.h"

extern const struct command ctl_command;

#endif
