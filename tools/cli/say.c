/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A line for people is formatted, made safe as a whole and written by one
 * call, so that lines of several processes don't mix and no name slips through
 * unescaped. Errors on stderr are ignored: there is nowhere left to report.
 *
 * stdout is different: a script that reads half a map must learn of it, so its
 * first error is kept and becomes the exit code. A broken pipe is an error like
 * any other (stop.c has SIGPIPE ignored): a pull must not die of its reader.
 */
#include "tools/cli/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/advice.h"
#include "tools/words/exit_code.h"
#include "tools/words/text.h"

#define SAY_LINE_CAP 6144

static int say_stdout_errno;
static bool say_shares;

static void say_line(const char *prefix, const char *format, va_list args)
{
	char text[SAY_LINE_CAP / 4], line[SAY_LINE_CAP];
	int prefix_len;

	vsnprintf(text, sizeof(text), format, args);
	prefix_len = snprintf(line, sizeof(line), "%s", prefix);
	text_safe(text, line + prefix_len, sizeof(line) - prefix_len - 1);
	strcat(line, "\n");
	fputs(line, stderr);
}

void say_error(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_line("blockpull: ", format, args);
	va_end(args);
}

void say_hint(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_line(say_colour() ? "\033[1mhint:\033[0m " : "hint: ", format, args);
	va_end(args);
}

void say_note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_line("", format, args);
	va_end(args);
}

void say_may_share(bool may_share)
{
	say_shares = may_share;
}

int say_failed_bare(const struct bpull_error *error, int code)
{
	struct bpull_error told = *error;

	advice_add(&told, say_shares);
	if (told.message[0])
		say_error("%s", told.message);
	else
		say_error("%s", strerror(-code));
	return exit_code_of_error(code);
}

int say_failed(const struct bpull_error *error, int code)
{
	const char *hint = exit_code_hint(code);
	say_failed_bare(error, code);
	if (hint)
		say_hint("%s", hint);
	return exit_code_of_error(code);
}

void say_disk_hint(const char *hint)
{
	if (hint)
		say_note("note: %s" ADVICE_HINT, hint);
}

int say_usage(const char *command, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_line("blockpull: ", format, args);
	va_end(args);
	if (command)
		say_hint("'blockpull help %s' lists its options", command);
	else
		say_hint("'blockpull help' lists the commands");
	return EXIT_CODE_USAGE;
}

bool say_terminal(void)
{
	const char *term = getenv("TERM");
	return isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

bool say_colour(void)
{
	const char *no_color = getenv("NO_COLOR");
	return say_terminal() && !(no_color && *no_color);
}

static void say_stdout_failed(void)
{
	if (!say_stdout_errno)
		say_stdout_errno = errno ? errno : EIO;
}

void say_data(const char *format, ...)
{
	char *text = NULL, *safe = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	if (len >= 0)
		safe = malloc(4 * (size_t)len + 1); /* each byte as \xNN */
	if (safe) {
		/* Its own last newline is the only one a line of data has. */
		bool ends_line = len > 0 && format[strlen(format) - 1] == '\n';

		if (ends_line)
			text[len - 1] = 0;
		text_safe(text, safe, 4 * (size_t)len + 1);
		if (fputs(safe, stdout) < 0 || (ends_line && putchar('\n') < 0))
			say_stdout_failed();
	} else {
		errno = ENOMEM;
		say_stdout_failed();
	}
	free(safe);
	if (len >= 0)
		free(text);
}

/* JSON's way to write any character: beyond 16 bits as two halves. */
static int say_escaped(uint32_t code_point)
{
	if (code_point < 0x10000)
		return printf("\\u%04x", code_point);
	code_point -= 0x10000;
	return printf("\\u%04x\\u%04x", 0xd800 + (code_point >> 10), 0xdc00 + (code_point & 0x3ff));
}

/* json-c writes U+007F and above as they are: harmless to a parser, but some are commands to a
 * terminal, or show another name than the one that is meant. */
static void say_json_string(const char *text)
{
	while (*text) {
		uint32_t code_point;
		size_t len = text_harmful(text, &code_point);
		int rc = len ? say_escaped(code_point) : putchar((unsigned char)*text);

		text += len ? len : 1;
		if (rc < 0) {
			say_stdout_failed();
			return;
		}
	}
}

void say_json(struct json_object *value, enum say_json_style style)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text;

	if (style == SAY_JSON_DOCUMENT)
		flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
	text = value ? json_object_to_json_string_ext(value, flags) : NULL;
	if (text) {
		say_json_string(text);
		if (style != SAY_JSON_PART && putchar('\n') < 0)
			say_stdout_failed();
	} else {
		errno = ENOMEM;
		say_stdout_failed();
	}
	json_object_put(value);
	if (style == SAY_JSON_LINE && fflush(stdout))
		say_stdout_failed();
}

struct json_object *say_json_text(const char *text)
{
	char *utf8;
	struct json_object *value;

	if (!text)
		return NULL;
	utf8 = text_utf8(text);
	value = utf8 ? json_object_new_string(utf8) : NULL;
	free(utf8);
	return value;
}

int say_finish(int code)
{
	/* close() too: some file systems report a full disk only there. */
	if (ferror(stdout))
		say_stdout_failed();
	errno = 0;
	if (fclose(stdout))
		say_stdout_failed();
	if (!say_stdout_errno)
		return code;
	say_error("writing to standard output failed: %s", strerror(say_stdout_errno));
	return code ? code : EXIT_CODE_FAILED;
}
