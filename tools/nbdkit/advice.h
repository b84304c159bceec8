/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the plugin advises where the library refuses, in the words of its parameters. */
#ifndef TOOLS_NBDKIT_ADVICE_H
#define TOOLS_NBDKIT_ADVICE_H

#include "engine/blockpull.h"

/* Adds it to the sentence. */
void plugin_advise(struct bpull_error *error);
/* The same, and tells the sentence to nbdkit. */
void plugin_complain(struct bpull_error *error);

#endif
