/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a value ends is found by counting brackets outside of strings; what is
 * in it is json-c's to judge. Its tokener alone was rejected: after an error
 * it cannot say where the next value begins, of two members of one name it
 * keeps the last without a word, it takes NaN and "5." for numbers (its strict
 * mode, too), and makes the next best integer of one that is too large.
 *
 * As with QEMU a control character inside a string, or a byte that UTF-8 never
 * has (0xFF, which clients send to start anew), ends the value that was begun.
 * A value that is too long or too deep is passed over up to its end, or up to
 * the end of the line.
 */
#include "tools/control/wire/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#define TOO_LONG "JSON token size limit exceeded"
#define TOO_DEEP "JSON nesting depth limit exceeded"
#define STRAY    "JSON parse error, stray character"

static void stream_begin_anew(struct control_stream *s)
{
	char *text = s->text;

	*s = (struct control_stream){ .text = text };
}

static enum control_piece stream_garbage(struct control_stream *s, const char *why)
{
	stream_begin_anew(s);
	s->why = why;
	return CONTROL_GARBAGE;
}

/* The value goes on, but none of it is kept. */
static enum control_piece stream_pass_over(struct control_stream *s, const char *why)
{
	s->is_skipping = true;
	s->len = 0;
	s->why = why;
	return CONTROL_GARBAGE;
}

static enum control_piece stream_keep(struct control_stream *s, char c)
{
	if (s->is_skipping)
		return CONTROL_NOTHING;
	if (s->len == CONTROL_MAX_VALUE)
		return stream_pass_over(s, TOO_LONG);
	s->text[s->len++] = c;
	return CONTROL_NOTHING;
}

static enum control_piece stream_end_value(struct control_stream *s)
{
	if (s->is_skipping) {
		stream_begin_anew(s);
		return CONTROL_NOTHING;
	}
	s->is_over = true;
	return CONTROL_VALUE;
}

static bool stream_is_space(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Never part of UTF-8. */
static bool stream_is_impossible(unsigned char c)
{
	return c == 0xc0 || c == 0xc1 || c > 0xf4;
}

static enum control_piece stream_in_string(struct control_stream *s, unsigned char c)
{
	enum control_piece piece;

	if (c < ' ' || stream_is_impossible(c))
		return stream_garbage(s, STRAY);
	if (s->escaped) {
		s->escaped = false;
		/* JSON knows no \' */
		if (c == '\'' && !s->is_skipping && s->len)
			s->len--;
		return stream_keep(s, c);
	}
	s->escaped = c == '\\';
	if (c != (unsigned char)s->quote) {
		/* QEMU's monitor takes 'text' as well; here it becomes "text". */
		piece = c == '"' ? stream_keep(s, '\\') : CONTROL_NOTHING;
		return piece ? piece : stream_keep(s, c);
	}
	s->quote = 0;
	piece = stream_keep(s, '"');
	return piece || s->depth ? piece : stream_end_value(s);
}

static enum control_piece stream_open_bracket(struct control_stream *s, char c)
{
	if (++s->depth > CONTROL_MAX_DEPTH && !s->is_skipping)
		return stream_pass_over(s, TOO_DEEP);
	return stream_keep(s, c);
}

static enum control_piece stream_close_bracket(struct control_stream *s, char c)
{
	enum control_piece piece;

	if (!s->depth)
		return stream_garbage(s, "JSON parse error, expecting value");
	s->depth--;
	piece = stream_keep(s, c);
	return piece || s->depth ? piece : stream_end_value(s);
}

/* Outside of strings. */
static enum control_piece stream_in_value(struct control_stream *s, unsigned char c)
{
	if (stream_is_impossible(c) || (c < ' ' && !stream_is_space(c)) || (c >= 0x80 && !s->depth))
		return stream_garbage(s, STRAY);
	switch (c) {
	case '{':
	case '[': return stream_open_bracket(s, c);
	case '}':
	case ']': return stream_close_bracket(s, c);
	case '"':
	case '\'': s->quote = c; return stream_keep(s, '"');
	case ',':
	case ':':
		if (!s->depth)
			return stream_garbage(s, "JSON parse error, expecting value");
		return stream_keep(s, c);
	}
	if (s->depth)
		return stream_keep(s, c);
	if (stream_is_space(c))
		return CONTROL_NOTHING;
	s->in_word = true;
	return stream_keep(s, c);
}

static bool stream_ends_word(unsigned char c)
{
	return c <= ' ' || c >= 0x80 || strchr("{}[],:\"'", c);
}

size_t control_stream_take(struct control_stream *s, const char *bytes, size_t n,
			   enum control_piece *piece)
{
	size_t at = 0;

	if (s->is_over)
		stream_begin_anew(s);
	*piece = CONTROL_NOTHING;
	while (at < n && !*piece) {
		unsigned char c = bytes[at];

		if (s->is_skipping && c == '\n') {
			stream_begin_anew(s);
		} else if (s->in_word && stream_ends_word(c)) {
			*piece = stream_end_value(s);
			s->in_word = false;
			continue; /* the byte is the next value's */
		} else if (s->in_word) {
			*piece = stream_keep(s, c);
		} else {
			*piece = s->quote ? stream_in_string(s, c) : stream_in_value(s, c);
		}
		at++;
	}
	return at;
}

/* ---- what is in a value ---- */

static size_t stream_count_members(struct json_object *value)
{
	size_t n = 0;

	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			(void)key;
			n += 1 + stream_count_members(member);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			n += stream_count_members(json_object_array_get_idx(value, i));
	}
	return n;
}

/* Colons outside of strings: as many as members were written. *has_nul: a string holds \u0000. */
static size_t stream_count_colons(const char *text, size_t len, bool *has_nul)
{
	bool is_string = false;
	size_t n = 0;

	*has_nul = memchr(text, 0, len);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"')
			is_string = !is_string;
		else if (text[i] == '\\' && len - i > 5 && !memcmp(text + i + 1, "u0000", 5))
			*has_nul = true;
		n += text[i] == ':' && !is_string;
		i += text[i] == '\\';
	}
	return n;
}

static const char *stream_pass_digits(const char *at, const char *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at;
}

/* A number as JSON writes it, whole. *is_integer: without a fraction and an exponent. */
static bool stream_is_number(const char *word, const char *end, bool *is_integer)
{
	const char *first = word + (*word == '-'), *at = stream_pass_digits(first, end), *part;

	if (at == first || (*first == '0' && at - first > 1))
		return false;
	*is_integer = at == end;
	if (at < end && *at == '.') {
		part = at + 1;
		at = stream_pass_digits(part, end);
		if (at == part)
			return false;
	}
	if (at < end && (*at == 'e' || *at == 'E')) {
		part = at + 1;
		part += part < end && (*part == '-' || *part == '+');
		at = stream_pass_digits(part, end);
		if (at == part)
			return false;
	}
	return at == end;
}

static const char *stream_judge_word(const char *word, size_t len)
{
	char digits[24];
	bool is_integer;

	if ((len == 4 && (!memcmp(word, "true", 4) || !memcmp(word, "null", 4))) ||
	    (len == 5 && !memcmp(word, "false", 5)))
		return NULL;
	if (!stream_is_number(word, word + len, &is_integer))
		return "JSON parse error";
	if (!is_integer)
		return NULL;
	errno = len < sizeof(digits) ? 0 : ERANGE;
	if (!errno) {
		memcpy(digits, word, len);
		digits[len] = 0;
		if (*word == '-')
			strtoll(digits, NULL, 10);
		else
			strtoull(digits, NULL, 10);
	}
	return errno ? "JSON parse error, an integer of more than 64 bits" : NULL;
}

/* What stands outside of strings, between brackets, commas and colons. */
static const char *stream_judge_words(const char *text, size_t len)
{
	const char *why = NULL;

	for (size_t i = 0, n; i < len && !why; i += n ? n : 1) {
		for (n = 0; i + n < len && !stream_ends_word(text[i + n]); n++)
			;
		if (n)
			why = stream_judge_word(text + i, n);
		else if (text[i] == '"')
			for (i++; i < len && text[i] != '"'; i++)
				i += text[i] == '\\';
	}
	return why;
}

struct json_object *control_parse(const char *text, size_t len, const char **why)
{
	struct json_tokener *tokener = json_tokener_new_ex(CONTROL_MAX_DEPTH + 1);
	struct json_object *value = NULL;
	bool has_nul;
	size_t n_colons = stream_count_colons(text, len, &has_nul);

	*why = tokener ? NULL : "out of memory";
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	if (has_nul) {
		*why = "JSON parse error, a NUL in a string";
	} else if (!(*why = stream_judge_words(text, len))) {
		value = json_tokener_parse_ex(tokener, text, (int)len);
		/* A number ends where something else begins. */
		if (json_tokener_get_error(tokener) == json_tokener_continue)
			value = json_tokener_parse_ex(tokener, "", 1);
		else if (json_tokener_get_parse_end(tokener) != len)
			*why = "JSON parse error";
		if (json_tokener_get_error(tokener) != json_tokener_success)
			*why = "JSON parse error";
		else if (!*why && stream_count_members(value) != n_colons)
			*why = "JSON parse error, duplicate key";
	}
	json_tokener_free(tokener);
	if (*why) {
		json_object_put(value);
		value = NULL;
	}
	return value;
}
