/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Times as people write them: "30m", "1h30m", "90", "5ms". */
#ifndef TOOLS_WORDS_DURATION_H
#define TOOLS_WORDS_DURATION_H

#include <stdint.h>

/* Parses all of `text` into *ns: numbers with us, ms, s, m, h or d behind them, from the largest
 * down; one that has none is of seconds. 0, or -EINVAL / -ERANGE with *why set to a static half
 * sentence that goes behind "'5 x': ". *ns is untouched then. */
int duration_parse(const char *text, uint64_t *ns, const char **why);

#define DURATION_TEXT_CAP 32

/* "1 h 30 min", "2.5 s", "5 ms": the two largest units at most, rounded down. Returns out. */
char *duration_text(uint64_t ns, char out[DURATION_TEXT_CAP]);

#endif
