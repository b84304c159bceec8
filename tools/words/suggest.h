/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Finds what a mistyped word was meant to be. */
#ifndef TOOLS_WORDS_SUGGEST_H
#define TOOLS_WORDS_SUGGEST_H

#include <stddef.h>

/* Remembers the nearest of the words offered to it. Begin with .best_distance = 0, .best = NULL. */
struct suggest {
	const char *best; /* NULL: none is near enough */
	size_t best_distance;
};

void suggest_offer(struct suggest *suggest, const char *typed, const char *candidate);

#endif
