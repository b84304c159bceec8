/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The verbs: those that are one file of this folder each, and the list of all. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include <stddef.h>

#include "tools/cli/command.h"

extern const struct command info_command;
extern const struct command map_command;
extern const struct command measure_command;
extern const struct command check_command;
extern const struct command hash_command;
extern const struct command verify_command;
extern const struct command create_command;
extern const struct command resize_command;
extern const struct command trace_command;
extern const struct command ctl_command;
/* It only has words to say: main.c does it. */
extern const struct command help_command;

/* In the order in which they are listed. */
extern const struct command *const commands_all[];
extern const size_t commands_n;
/* What may stand in a verb's place. */
extern const struct option commands_options[];

#endif
