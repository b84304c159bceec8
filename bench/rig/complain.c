/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every function returns the exit code, so that a failure is one statement where
 * it is found: return complain(...).
 */
#include "bench/rig/complain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/words/exit_code.h"
#include "tools/words/text.h"

#define LINE_CAP 2048

static void complain_line(const char *format, va_list args)
{
	char text[LINE_CAP], safe[4 * LINE_CAP];

	vsnprintf(text, sizeof(text), format, args);
	text_safe(text, safe, sizeof(safe));
	fprintf(stderr, "blockpull-bench: %s\n", safe);
}

int complain(int exit_code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_line(format, args);
	va_end(args);
	return exit_code;
}

int complain_usage(const char *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_line(format, args);
	va_end(args);
	fprintf(stderr, "hint: 'blockpull-bench %s%s--help' lists the options\n",
		command ? command : "", command ? " " : "");
	return EXIT_CODE_USAGE;
}

int complain_library(const char *what, const struct bpull_error *error, int rc)
{
	return complain(exit_code_of_error(rc), "%s: %s", what,
			error && error->message[0] ? error->message : strerror(-rc));
}

int complain_system(const char *what)
{
	int error = errno;

	return complain(exit_code_of_error(-error), "%s: %s", what, strerror(error));
}
