/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef TOOLS_PULL_FLATTEN_H
#define TOOLS_PULL_FLATTEN_H

#include "tools/cli/command.h"

extern const struct command flatten_command;

#endif
