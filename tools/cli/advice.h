/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The library says what is wrong, and as data what would help; what that is
 * called on the command line is said here, and nowhere else.
 */
#ifndef TOOLS_CLI_ADVICE_H
#define TOOLS_CLI_ADVICE_H

#include <stdbool.h>

#include "engine/blockpull.h"

/* Adds to the sentence how the command line asks for its remedy, which is used up by that.
 * may_share: this command has --force-share. */
void advice_add(struct bpull_error *error, bool may_share);

/* What goes behind bpull_disk_hint()'s sentence. */
#define ADVICE_HINT "; if you know better: --holes=trust"

#endif
