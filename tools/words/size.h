/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Sizes and rates as people write them. One parser for both, so that "10M"
 * means the same number of bytes wherever it is typed.
 */
#ifndef TOOLS_WORDS_SIZE_H
#define TOOLS_WORDS_SIZE_H

#include <stddef.h>
#include <stdint.h>

enum size_kind {
	SIZE_BYTES = 0,
	SIZE_RATE = 1, /* bytes per second: a trailing "/s" is accepted */
};

/* Parses all of `text` into *bytes. 0, or -EINVAL / -ERANGE with *why set to a static half sentence
 * that goes behind "'10b': ". *bytes is untouched then. */
int size_parse(const char *text, enum size_kind kind, uint64_t *bytes, const char **why);

#define SIZE_TEXT_CAP 32

/* "0 B", "1.5 GiB": three digits or so, powers of 1024, rounded down, so that what is shown was
 * really reached. Returns out. */
char *size_text(uint64_t bytes, char out[SIZE_TEXT_CAP]);

/* The same in MiB with up to two decimals and no unit, for rates. Returns out. */
char *size_text_mib(uint64_t bytes, char out[SIZE_TEXT_CAP]);

#endif
