/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sentences that refuse something, with the names in them made safe to print and to type. */
#ifndef TOOLS_NBD_NAMES_REFUSAL_H
#define TOOLS_NBD_NAMES_REFUSAL_H

#include "engine/blockpull.h"

#define REFUSAL_NAME_CAP 200 /* bytes of a name in a sentence */

/* Fills in *error, all that is not printable escaped. Returns the code. */
int nbd_refuse(struct bpull_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for -ENOMEM. */
int nbd_refuse_memory(struct bpull_error *error);

/* A name as a sentence shows it: safe, with "..." in place of what has no room. Returns shown. */
const char *nbd_show(const char *name, char shown[REFUSAL_NAME_CAP]);

/* Copies a text into word as a shell takes it for one word that is the same text, in quotes where
 * it needs them. NULL: it has no room, or holds what can't be typed as it is seen. */
const char *nbd_shell_word(const char *text, char word[REFUSAL_NAME_CAP]);

#endif
