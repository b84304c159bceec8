/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the three shells' scripts are made from: a verb's table of options, what
 * the options take (tools/cli/offer.h), and their lines of the verb's help.
 */
#ifndef TOOLS_COMPLETION_COMPLETION_H
#define TOOLS_COMPLETION_COMPLETION_H

#include <stdbool.h>

#include "tools/cli/command.h"

struct completion_option {
	const char *name;
	char letter; /* 0: none */
	bool is_value_optional;
	const struct offer *offer; /* NULL: it takes no value */
	char value[24];            /* how the help calls the value */
	char text[100];            /* what the option does, in a line */
	bool is_repeatable;
};

/* One option of a verb. Ends the program where a table or the help lacks it, so that a new option
 * cannot be left out. */
struct completion_option completion_option(const struct command *command, const struct option *row);

/* Prints words with a separator between them, and in front of the first. */
void completion_print_words(const struct options_word *words, const char *separator);

/* What a script is for. */
struct completion_program {
	const char *name, *id; /* as it is typed; as it is part of a function's name */
	const struct command *const *commands;
	size_t n_commands;
	const struct option *options; /* what may stand in a verb's place */
};

/* Prints the script of the shell that argv names. Returns main()'s status. */
int completion_main(const struct completion_program *program, int argc, char **argv);

/* The program of this run. */
void completion_begin(const struct completion_program *program);
/* Prints text with that program's name and id for @NAME@ and @ID@. */
void completion_print(const char *text);

/* The scripts, on stdout. */
void bash_print(const struct completion_program *program);
void zsh_print(const struct completion_program *program);
void fish_print(const struct completion_program *program);

#endif
