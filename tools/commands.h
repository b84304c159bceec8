/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The list of all verbs, and those that are a file of this folder. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include <stddef.h>

#include "tools/cli/command.h"

extern const struct command trace_command;
/* It only has words to say: main.c does it. */
extern const struct command help_command;

/* In the order in which they are listed. */
extern const struct command *const commands_all[];
extern const size_t commands_n;
/* What may stand in a verb's place. */
extern const struct option commands_options[];

#endif
