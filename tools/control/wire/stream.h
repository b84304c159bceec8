/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bytes of a control connection cut into JSON values, as QEMU's monitor cuts
 * them: no line ends are needed, a line may hold several values, a value may
 * take several lines. No I/O.
 */
#ifndef TOOLS_CONTROL_STREAM_H
#define TOOLS_CONTROL_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json_object.h>

#define CONTROL_MAX_VALUE 65536u /* bytes of one value */
#define CONTROL_MAX_DEPTH 64u    /* brackets in brackets */

enum control_piece {
	CONTROL_NOTHING = 0, /* all bytes were taken; a value may have begun */
	CONTROL_VALUE,       /* text[0..len) is one, complete if it is JSON at all */
	CONTROL_GARBAGE,     /* `why` says what came instead of one; the next value begins anew */
};

/* All zero but text: nothing has come yet. */
struct control_stream {
	char *text; /* CONTROL_MAX_VALUE bytes, the owner's */
	size_t len;
	unsigned depth;   /* open brackets */
	char quote;       /* of the string that is open; 0: none */
	bool escaped;     /* behind a backslash */
	bool in_word;     /* a number, a keyword or garbage, outside of brackets */
	bool is_skipping; /* an error was told: what belongs to that value is passed over */
	bool is_over;     /* text was handed out */
	const char *why;  /* static */
};

/* Takes bytes until a value is complete, or an error is found. Returns how many of the n it took;
 * call it again with the rest. What was handed out is valid until the next call. */
size_t control_stream_take(struct control_stream *stream, const char *bytes, size_t n,
			   enum control_piece *piece);

/* The value of a text, which the caller puts; NULL with *why (static) where it is no JSON, holds a
 * key twice, or a NUL, which C strings would cut short. A text "null" is NULL with *why NULL. */
struct json_object *control_parse(const char *text, size_t len, const char **why);

#endif
