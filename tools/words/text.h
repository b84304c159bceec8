/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Strings on their way to a terminal or into JSON. Names come from images and
 * may hold anything but NUL.
 */
#ifndef TOOLS_WORDS_TEXT_H
#define TOOLS_WORDS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpull_error;

/* Copies `text` into out (cap bytes, always terminated, cut at a whole character) with invalid
 * UTF-8, control characters and those that reorder or hide text as \xNN. Does nothing to text that
 * is safe already, its own result included. Returns out. */
char *text_safe(const char *text, char *out, size_t cap);

/* Columns that a safe text takes at most. */
size_t text_columns(const char *safe_text);

/* Cuts a safe text at its front, with "..." in place of what went, until it takes at most
 * `columns` (>= 4). In place; returns it. */
char *text_fit(char *safe_text, size_t columns);

/* The length of the character at `text` if it is one that terminals obey or hide, beyond ASCII's
 * own (DEL is among them), and its code point; else 0. */
size_t text_harmful(const char *text, uint32_t *code_point);

bool text_is_utf8(const char *text);

/* A copy for JSON: invalid UTF-8 becomes \xNN in text, the rest stays. Free with free();
 * NULL: no memory. */
char *text_utf8(const char *text);

/* Fills *error anew: the code and a sentence, which may quote what was in it. Returns the code. */
int text_error(struct bpull_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
