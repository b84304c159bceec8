/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What can be typed as an option's value, or as a word that is no option. The
 * parser and the completions of the shells share these tables of words; what an
 * option without a row takes nothing can offer, so the generator refuses it.
 */
#ifndef TOOLS_CLI_OFFER_H
#define TOOLS_CLI_OFFER_H

#include "tools/cli/options.h"

enum offer_kind {
	OFFER_WORDS = 0, /* of `words` */
	OFFER_FREE,      /* a number, a rate, a new name: nothing is offered */
	OFFER_FILES,     /* of the file system, and `words` if there are any */
	OFFER_DIRS,      /* likewise */
	OFFER_PAIRS,     /* NAME=VALUE, separated by commas; `words` are the names */
};

struct offer {
	const char *option; /* its long name; NULL ends a table */
	enum offer_kind kind;
	const struct options_word *words; /* may be NULL, but for OFFER_WORDS and OFFER_PAIRS */
};

/* Of the options that verbs share (OPTIONS_CHAIN, OPTIONS_HOLES, RATES_OPTIONS). */
extern const struct offer offer_shared[];

struct command;

/* What an option of the command takes; the command's own rows count before the shared ones. NULL:
 * no row has it. */
const struct offer *offer_find(const struct command *command, const char *option);
/* The same for the command's n-th word that is no option, from 0 on. Never NULL: files, where the
 * command says nothing else. */
const struct offer *offer_word(const struct command *command, int n);

#endif
