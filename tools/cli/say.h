/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the command prints, but for help texts, and the bar and percents of a
 * pull. Text for people goes to stderr, one line a call, made safe as a whole;
 * data goes to stdout, whose errors are the command's errors.
 */
#ifndef TOOLS_CLI_SAY_H
#define TOOLS_CLI_SAY_H

#include <stdbool.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"

/* "blockpull: <sentence>" */
void say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "hint: <what to do>", behind an error. */
void say_hint(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "<text>": not an error. */
void say_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says why a library call failed, with a hint where there is one. Returns the exit code. */
int say_failed(const struct bpull_error *error, int code);
/* The same without the hint, where the caller has a better one. */
int say_failed_bare(const struct bpull_error *error, int code);

/* The command has --force-share, which may be advised. */
void say_may_share(bool may_share);

/* Says bpull_disk_hint()'s sentence with what the command line has for it; NULL: nothing. */
void say_disk_hint(const char *hint);

/* Says what is wrong with the command line. `command` NULL: blockpull itself.
 * Returns EXIT_CODE_USAGE. */
int say_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Escape sequences may be sent to stderr: a terminal that knows them, and for `colour` a user who
 * wants them. */
bool say_terminal(void);
bool say_colour(void);

/* Text on stdout, of any length; made safe where it holds names. say_json() has those in JSON. */
void say_data(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum say_json_style {
	SAY_JSON_LINE = 0,     /* one line, sent at once */
	SAY_JSON_DOCUMENT = 1, /* indented */
	SAY_JSON_PART = 2, /* without a newline, of an object that say_data() writes around it */
};

/* Prints a JSON value on stdout and releases it (NULL: it could not be made). */
void say_json(struct json_object *value, enum say_json_style style);
/* A string from an image or the command line as a JSON string; NULL becomes null. */
struct json_object *say_json_text(const char *text);

/* Flushes stdout. Returns `code`, or EXIT_CODE_FAILED in place of 0 when stdout took not all. */
int say_finish(int code);

#endif
