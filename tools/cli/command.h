/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A verb of the command, declared: what `blockpull help` lists, and what
 * command_main() needs to read its command line. A verb has code only for what
 * is its own: options (take), what they mean together (check), the work (run).
 */
#ifndef TOOLS_CLI_COMMAND_H
#define TOOLS_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/cli/offer.h"
#include "tools/cli/options.h"

/* What a command line said. A verb with options of its own has a struct that begins with this. */
struct command_line {
	const struct command *command;
	struct options_chain chain; /* how images are to be opened */
	bool json, quiet;
	char **words; /* argv's, those that are no options */
	int n_words;
};

struct command {
	const char *name, *summary, *help;
	const char *letters;          /* for options_next() */
	const struct option *options; /* likewise */
	/* What its options with a value take, but those of offer_shared, and what each word that
	 * is no option may be; NULL: files. */
	const struct offer *offers, *word_offers;
	size_t line_size;         /* of its command line's struct, which begins zeroed */
	int min_words, max_words; /* max_words 0: any number */
	const char *too_few, *too_many;
	/* An option; `text` is its value, or NULL, and may be changed. 0: taken; -1: not one
	 * of its own; else an exit code after saying what is wrong. NULL: it has none. */
	int (*take)(struct command_line *line, int option, char *text);
	/* What is wrong with all of it together; applies defaults. 0 or an exit code. */
	int (*check)(struct command_line *line);
	/* Returns the exit code. */
	int (*run)(struct command_line *line);
	/* Frees what take() made, also where nothing is run. NULL: that is nothing. */
	void (*forget)(struct command_line *line);
};

/* Does what argv says; argv[0] is the verb's name. Returns the exit code. */
int command_main(const struct command *command, int argc, char **argv);

/* A check() for verbs that change nothing, or its first step: images are opened read-only, and
 * BLOCKPULL_ALLOW_BACKING counts. */
int command_check_reader(struct command_line *line);

#endif
