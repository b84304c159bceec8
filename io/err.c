/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Sentences for people, and names from images made safe to print.
 *
 * A name is shown as it is where it is plain text: only what could drive a
 * terminal, end a quotation or reorder the line is written as \xNN. Escaping
 * every byte above 0x7f would be simpler and was rejected: most of the world's
 * file names would become unreadable.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "io/err.h"
#include "io/libc.h"

/* Length of the well-formed UTF-8 sequence at s, its code point in *cp; 0: not well-formed. */
static size_t utf8_len(const unsigned char *s, size_t len, uint32_t *cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80             ? 1
		   : (s[0] & 0xe0) == 0xc0 ? 2
		   : (s[0] & 0xf0) == 0xe0 ? 3
		   : (s[0] & 0xf8) == 0xf0 ? 4
					   : 0;
	bool surrogate;

	if (!n || n > len)
		return 0;
	if (n == 1) {
		*cp = s[0];
		return 1;
	}
	*cp = s[0] & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | (s[i] & 0x3f);
	}
	surrogate = *cp >= 0xd800 && *cp <= 0xdfff;
	return *cp < least[n] || *cp > 0x10ffff || surrogate ? 0 : n;
}

/* Control characters of both tables, quotes, the escape itself, and what reorders or hides text. */
static bool is_plain(uint32_t cp)
{
	bool bidi = cp == 0x061c || (cp >= 0x200b && cp <= 0x200f) ||
		    (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) ||
		    cp == 0xfeff;

	if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
		return false;
	if (cp == '\'' || cp == '"' || cp == '\\')
		return false;
	return !bidi;
}

/* Cuts at the end of a whole character, so that three dots can follow within cap. */
static void put_ellipsis(char *out, size_t used, size_t cap)
{
	if (cap < 4)
		return;
	if (used > cap - 4)
		used = cap - 4;
	while (used && ((unsigned char)out[used] & 0xc0) == 0x80)
		used--;
	memcpy(out + used, "...", 4);
}

char *err_escape(const char *name, size_t name_len, char *out, size_t cap)
{
	const unsigned char *s = (const unsigned char *)name;
	size_t used = 0, fits = 0; /* fits: the last whole character that leaves room for "..." */

	assert(cap > 0);
	for (size_t i = 0; i < name_len;) {
		uint32_t cp;
		size_t n = utf8_len(s + i, name_len - i, &cp);
		bool plain = n && is_plain(cp);
		size_t room = plain ? n : 4;

		if (used + room + 1 > cap) {
			out[used] = '\0';
			put_ellipsis(out, fits, cap);
			return out;
		}
		if (plain) {
			memcpy(out + used, s + i, n);
			i += n;
		} else {
			char hex[5];
			snprintf(hex, sizeof(hex), "\\x%02x", s[i]);
			memcpy(out + used, hex, 4);
			i++;
		}
		used += room;
		if (used + 4 <= cap)
			fits = used;
	}
	out[used] = '\0';
	return out;
}

__attribute__((format(printf, 2, 0))) static void fill_message(struct err *err, const char *format,
							       va_list ap)
{
	int n = vsnprintf(err->message, sizeof(err->message), format, ap);
	if (n < 0)
		err->message[0] = '\0';
	else if ((size_t)n >= sizeof(err->message))
		put_ellipsis(err->message, sizeof(err->message) - 1, sizeof(err->message));
}

static void set_code(struct err *err, int code)
{
	err->code = code;
	err->remedy = ERR_REMEDY_NONE;
	err->remedy_name[0] = '\0';
}

int err_remedy(struct err *err, int code, enum err_remedy remedy, const char *name)
{
	if (!err)
		return code;
	err->remedy = remedy;
	snprintf(err->remedy_name, sizeof(err->remedy_name), "%s", name ? name : "");
	return code;
}

int err_wrap(struct err *err, int code, const struct err *cause, const char *kind, const char *name,
	     const char *more)
{
	err_set(err, code, "%s of '%s': %s%s", kind, name, cause->message, more);
	return err_remedy(err, code, cause->remedy, cause->remedy_name);
}

int err_set(struct err *err, int code, const char *format, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, format);
	fill_message(err, format, ap);
	va_end(ap);
	set_code(err, code);
	return code;
}

int err_errno(struct err *err, int code, const char *format, ...)
{
	const char *why;
	char text[128];
	size_t used;
	va_list ap;
	int n;

	if (!err)
		return code;
	va_start(ap, format);
	fill_message(err, format, ap);
	va_end(ap);
	set_code(err, code);
	used = strlen(err->message);
	/* The system has no such text for the digests of sources. */
	why = code == -EBADMSG ? "what was read is not what is expected of it"
			       : libc_strerror(-code, text, sizeof(text));
	n = snprintf(err->message + used, sizeof(err->message) - used, ": %s", why);
	if (n < 0 || used + (size_t)n >= sizeof(err->message))
		put_ellipsis(err->message, sizeof(err->message) - 1, sizeof(err->message));
	return code;
}
