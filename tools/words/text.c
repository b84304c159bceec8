/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A backing file's name is chosen by the image's maker: printed raw, it
 * could move the cursor, retitle the window or, with U+202E, show another name
 * than the one that is opened. What is harmless stays readable.
 *
 * The C library's iswprint() and wcwidth() were rejected: they depend on the
 * locale and call the bidirectional controls printable. Columns are an upper
 * bound instead of a measurement, which is all that fitting a line needs.
 */
#include "tools/words/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"

/* Length of the well-formed character at `text` and its code point; 0: not well-formed. */
static size_t text_decode(const char *text, uint32_t *code_point)
{
	static const uint32_t shortest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *byte = (const unsigned char *)text;
	size_t len;
	uint32_t value;

	if (byte[0] < 0x80) {
		*code_point = byte[0];
		return 1;
	} else if ((byte[0] & 0xe0) == 0xc0) {
		len = 2;
	} else if ((byte[0] & 0xf0) == 0xe0) {
		len = 3;
	} else if ((byte[0] & 0xf8) == 0xf0) {
		len = 4;
	} else {
		return 0;
	}
	value = byte[0] & (0x7f >> len);
	for (size_t i = 1; i < len; i++) {
		if ((byte[i] & 0xc0) != 0x80) /* the terminating NUL ends here too */
			return 0;
		value = value << 6 | (byte[i] & 0x3f);
	}
	if (value < shortest[len] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	*code_point = value;
	return len;
}

static bool text_is_harmless(uint32_t code_point)
{
	static const struct {
		uint32_t first, last;
	} harmful[] = {
		{ 0x00, 0x1f },       { 0x7f, 0x9f },     /* C0, DEL, C1 */
		{ 0x61c, 0x61c },     { 0x200b, 0x200f }, /* marks, zero width */
		{ 0x2028, 0x202e },   { 0x2060, 0x206f }, /* separators, bidi controls */
		{ 0xfeff, 0xfeff },   { 0xfff9, 0xfffb }, /* byte order mark, annotations */
		{ 0xe0000, 0xe0fff },                     /* tags */
	};
	for (size_t i = 0; i < sizeof(harmful) / sizeof(harmful[0]); i++) {
		if (code_point >= harmful[i].first && code_point <= harmful[i].last)
			return false;
	}
	return true;
}

size_t text_harmful(const char *text, uint32_t *code_point)
{
	size_t len = text_decode(text, code_point);

	return len && *code_point >= 0x7f && !text_is_harmless(*code_point) ? len : 0;
}

char *text_safe(const char *text, char *out, size_t cap)
{
	size_t out_len = 0;
	while (*text) {
		uint32_t code_point = 0;
		size_t len = text_decode(text, &code_point);
		bool keep = len && text_is_harmless(code_point);
		if (!len)
			len = 1;
		if (out_len + (keep ? len : 4 * len) >= cap)
			break;
		for (size_t i = 0; i < len; i++) {
			if (keep)
				out[out_len++] = text[i];
			else
				out_len += snprintf(out + out_len, cap - out_len, "\\x%02x",
						    (unsigned char)text[i]);
		}
		text += len;
	}
	out[out_len] = 0;
	return out;
}

size_t text_columns(const char *safe_text)
{
	size_t columns = 0;
	while (*safe_text) {
		uint32_t code_point = 0;
		size_t len = text_decode(safe_text, &code_point);
		columns += code_point < 0x1100 ? 1 : 2;
		safe_text += len ? len : 1;
	}
	return columns;
}

char *text_fit(char *safe_text, size_t columns)
{
	size_t have = text_columns(safe_text);
	char *cursor;

	if (have <= columns)
		return safe_text;
	cursor = safe_text;
	while (have > columns - 3) {
		uint32_t code_point = 0;
		size_t len = text_decode(cursor, &code_point);
		have -= code_point < 0x1100 ? 1 : 2;
		cursor += len ? len : 1;
	}
	/* At least three columns went, so at least three bytes did. */
	memmove(safe_text + 3, cursor, strlen(cursor) + 1);
	memcpy(safe_text, "...", 3);
	return safe_text;
}

bool text_is_utf8(const char *text)
{
	uint32_t code_point;

	while (*text) {
		size_t len = text_decode(text, &code_point);

		if (!len)
			return false;
		text += len;
	}
	return true;
}

char *text_utf8(const char *text)
{
	char *out = malloc(strlen(text) * 4 + 1);
	char *cursor;

	if (!out)
		return NULL;
	cursor = out;
	while (*text) {
		uint32_t code_point;
		size_t len = text_decode(text, &code_point);
		if (len) {
			memcpy(cursor, text, len);
			cursor += len;
		} else {
			cursor += sprintf(cursor, "\\x%02x", (unsigned char)*text);
			len = 1;
		}
		text += len;
	}
	*cursor = 0;
	return out;
}

int text_error(struct bpull_error *error, int code, const char *format, ...)
{
	char text[sizeof(error->message)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	*error = (struct bpull_error){ .code = code };
	strcpy(error->message, text);
	return code;
}
