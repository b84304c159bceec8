/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An option is taken from the verb's table; its argument's name and its text from its lines in the
 * verb's help. One that the help lacks, or of whose argument nothing is known, ends the build.
 */
#include "tools/completion/completion.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct completion_program *completion_of; /* the one of this run */

#define INDENT_MIN 10 /* columns in front of a line that goes on with an option's text */

static void completion_die(const struct command *command, const char *option, const char *what)
{
	fprintf(stderr, "completion: %s --%s: %s\n", command->name, option, what);
	exit(1);
}

/* Where the help's line for the option goes on behind its name; NULL: it has none. */
static const char *completion_line(const char *help, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = help; line; line = strchr(line, '\n')) {
		const char *at;

		line += *line == '\n';
		at = line + strspn(line, " ");
		if (at == line || *at != '-')
			continue;
		at += at[1] == '-' ? 0 : strlen("-x, ");
		if (!strncmp(at, "--", 2) && !strncmp(at + 2, name, len) &&
		    strchr(" =[\n", at[2 + len]))
			return at + 2 + len;
	}
	return NULL;
}

/* Takes the value's name, as "=WHAT", " FMT" or "[=TYPE]" has it; `at` moves behind it. */
static void completion_take_value(const char **at, char *value, size_t cap)
{
	size_t len;

	*at += strspn(*at, "[= ");
	len = strspn(*at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	snprintf(value, cap, "%.*s", (int)len, *at);
	*at += strcspn(*at, " \n");
}

/* Joins the text's lines up to the next option's. */
static void completion_join(const char *at, char *text, size_t cap)
{
	size_t n = 0, indent = INDENT_MIN;

	at += strspn(at, " \n");
	while (*at && indent >= INDENT_MIN && n + 1 < cap) {
		if (*at != '\n') {
			text[n++] = *at++;
			continue;
		}
		indent = strspn(at + 1, " ");
		at += 1 + indent;
		text[n++] = ' ';
		if (*at == '-' || *at == '\n')
			break;
	}
	while (n && text[n - 1] == ' ')
		n--;
	text[n] = 0;
}

/* Leaves the first clause, or what has room of it, in whole words. */
static void completion_shorten(char *text, size_t cap)
{
	char *end = strstr(text, " (");
	size_t len;

	if (end)
		*end = 0;
	end = strchr(text, ';');
	if (end)
		*end = 0;
	len = strlen(text);
	if (len >= cap)
		for (len = cap - 1; len && text[len] != ' ';)
			len--;
	while (len && strchr(" :,.", text[len - 1]))
		len--;
	text[len] = 0;
}

struct completion_option completion_option(const struct command *command, const struct option *row)
{
	struct completion_option option = { .name = row->name };
	const char *at = completion_line(command->help, row->name);
	char text[1000];

	if (!at)
		completion_die(command, row->name, "the help does not have it");
	if (row->val <= UCHAR_MAX && isalnum(row->val)) {
		if (!strchr(command->letters, row->val))
			completion_die(command, row->name, "its letter is not among the letters");
		option.letter = (char)row->val;
	}
	option.is_value_optional = row->has_arg == optional_argument;
	if (row->has_arg != no_argument) {
		option.offer = offer_find(command, row->name);
		if (!option.offer)
			completion_die(command, row->name, "no table says what it takes");
		completion_take_value(&at, option.value, sizeof(option.value));
		if (!*option.value)
			completion_die(command, row->name, "the help has no name for its value");
	}
	completion_join(at, text, sizeof(text));
	option.is_repeatable = strstr(text, "repeatable");
	completion_shorten(text, sizeof(option.text));
	snprintf(option.text, sizeof(option.text), "%s", text);
	return option;
}

void completion_print_words(const struct options_word *words, const char *separator)
{
	for (; words && words->word; words++)
		printf("%s%s", separator, words->word);
}

void completion_begin(const struct completion_program *program)
{
	completion_of = program;
}

void completion_print(const char *text)
{
	while (*text) {
		if (!strncmp(text, "@NAME@", 6)) {
			fputs(completion_of->name, stdout);
			text += 6;
		} else if (!strncmp(text, "@ID@", 4)) {
			fputs(completion_of->id, stdout);
			text += 4;
		} else {
			putchar(*text++);
		}
	}
}
