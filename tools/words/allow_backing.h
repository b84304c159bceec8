/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* --allow-backing of the command and allow-backing= of the nbdkit plugin: any, none or a NAME. */
#ifndef TOOLS_WORDS_ALLOW_BACKING_H
#define TOOLS_WORDS_ALLOW_BACKING_H

#include <stdbool.h>

#include "engine/blockpull.h"

/* A warning, of the option and the NAME. */
#define ALLOW_BACKING_MISSING "%s: '%s' does not exist, so it allows nothing"

/* BPULL_BACKING_DIRS: the text is a NAME. */
enum bpull_backing_rule allow_backing_rule(const char *text);
/* Whether no file has the NAME: it allows nothing then, and is no error. */
bool allow_backing_is_missing(const char *name);

#endif
