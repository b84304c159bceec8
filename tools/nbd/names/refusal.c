/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An image's maker chooses the names that are shown here, and a user may copy a line from the
 * message into a shell: a name goes into such a line as one quoted word, or not at all.
 */
#include "tools/nbd/names/refusal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tools/words/text.h"

int nbd_refuse(struct bpull_error *error, int code, const char *format, ...)
{
	char text[sizeof(error->message)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	*error = (struct bpull_error){ .code = code };
	text_safe(text, error->message, sizeof(error->message));
	return code;
}

int nbd_refuse_memory(struct bpull_error *error)
{
	return nbd_refuse(error, -ENOMEM, "out of memory");
}

const char *nbd_show(const char *name, char shown[REFUSAL_NAME_CAP])
{
	char whole[REFUSAL_NAME_CAP];
	static const char more[] = "...";

	/* What a name this long may become has room, or is cut at a whole character. */
	text_safe(name, whole, sizeof(whole));
	if (strlen(whole) < sizeof(whole) - 16)
		return strcpy(shown, whole);
	text_safe(name, shown, REFUSAL_NAME_CAP - sizeof(more));
	return strcat(shown, more);
}

static bool needs_no_quotes(const char *text)
{
	return *text &&
	       !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				  "%+,-./:@_")];
}

const char *nbd_shell_word(const char *text, char word[REFUSAL_NAME_CAP])
{
	static const char quote[] = "'\\''";
	size_t len = 0;

	for (const char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			return NULL;
	if (needs_no_quotes(text) && strlen(text) < REFUSAL_NAME_CAP)
		return strcpy(word, text);
	word[len++] = '\'';
	for (const char *c = text; *c; c++) {
		size_t n = *c == '\'' ? strlen(quote) : 1;

		if (len + n + 2 > REFUSAL_NAME_CAP)
			return NULL;
		memcpy(word + len, n > 1 ? quote : c, n);
		len += n;
	}
	word[len++] = '\'';
	word[len] = 0;
	return word;
}
