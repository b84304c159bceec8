/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the command's exit code means. Scripts depend on these numbers and
 * names: they are documented in blockpull(1) and never change.
 */
#ifndef TOOLS_WORDS_EXIT_CODE_H
#define TOOLS_WORDS_EXIT_CODE_H

enum exit_code {
	EXIT_CODE_DONE = 0,
	EXIT_CODE_FAILED = 1,
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_BUSY = 3,
	EXIT_CODE_CORRUPT = 4,
	EXIT_CODE_LEAKS = 5,     /* check only */
	EXIT_CODE_DIFFERENT = 5, /* --verify, verify: content is not what it should be */
	EXIT_CODE_REFUSED = 6,
	EXIT_CODE_NO_SPACE = 7,
	EXIT_CODE_SIGNAL = 128, /* plus the signal's number */
};

/* The exit code for 0 or a negative errno value. */
int exit_code_of_error(int error);

/* One word for JSON output. Static. */
const char *exit_code_class(int code);

/* What a user can do about a negative errno value where the library's sentence does not say so
 * already, or NULL. Static. */
const char *exit_code_hint(int error);

#endif
