/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which images a pull is of. */
#ifndef TOOLS_PULL_NAMES_H
#define TOOLS_PULL_NAMES_H

#include "tools/pull/options.h"

/* Makes the words of the command line the names that are to be pulled: a list's, a shard's. The
 * list is the options' then. 0, or an exit code after saying what is wrong. */
int names_check(struct pull_options *options);
/* Pulls those images and frees the list. Returns the exit code. */
int names_run(struct command_line *line);

#endif
