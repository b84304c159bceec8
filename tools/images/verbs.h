/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The verbs of this room. */
#ifndef TOOLS_IMAGES_VERBS_H
#define TOOLS_IMAGES_VERBS_H

#include "tools/cli/command.h"

extern const struct command info_command;
extern const struct command map_command;
extern const struct command measure_command;
extern const struct command check_command;
extern const struct command hash_command;
extern const struct command verify_command;
extern const struct command create_command;
extern const struct command resize_command;

#endif
