/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The way that all verbs have in common. An option goes to the verb first, then
 * to those that verbs share: so a verb may give a letter a meaning of its own
 * (create's -f is the new image's format).
 */
#include "tools/cli/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

static int command_take(struct command_line *line, int option, char *text)
{
	const struct command *command = line->command;
	int code = command->take ? command->take(line, option, text) : -1;

	if (code >= 0)
		return code;
	switch (option) {
	case OPTIONS_JSON_OUTPUT: line->json = true; return 0;
	case 'q': line->quiet = true; return 0;
	default: return options_chain_take(&line->chain, command->name, option, text);
	}
}

static int command_count_words(const struct command_line *line)
{
	const struct command *command = line->command;

	if (line->n_words < command->min_words)
		return say_usage(command->name, "%s", command->too_few);
	if (command->max_words && line->n_words > command->max_words)
		return say_usage(command->name, "%s", command->too_many);
	return 0;
}

/* --help counts where it stands: what is wrong before it is told, what comes behind it is not. */
static int command_parse(struct command_line *line, int argc, char **argv, bool *wants_help)
{
	const struct command *command = line->command;
	int option, code = 0;

	*wants_help = false;
	while ((option = options_next(argc, argv, command->letters, command->options)) != -1) {
		*wants_help = option == 'h';
		if (*wants_help)
			return 0;
		code = option == '?' ? EXIT_CODE_USAGE : command_take(line, option, optarg);
		if (code)
			return code;
	}
	line->words = argv + optind;
	line->n_words = argc - optind;
	code = command_count_words(line);
	return code || !command->check ? code : command->check(line);
}

static bool command_has(const struct command *command, const char *name)
{
	const struct option *option = command->options;

	while (option->name && strcmp(option->name, name) != 0)
		option++;
	return option->name;
}

int command_main(const struct command *command, int argc, char **argv)
{
	struct command_line *line = calloc(1, command->line_size);
	bool wants_help;
	int code;

	if (!line) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	line->command = command;
	say_may_share(command_has(command, "force-share"));
	code = command_parse(line, argc, argv, &wants_help);
	if (wants_help)
		fputs(command->help, stdout);
	else if (!code)
		code = command->run(line);
	if (command->forget)
		command->forget(line);
	options_chain_free(&line->chain);
	free(line);
	return code;
}

int command_check_reader(struct command_line *line)
{
	line->chain.disk.flags |= BPULL_DISK_READ_ONLY;
	return options_chain_finish(&line->chain, line->command->name);
}
