/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdio.h>

#include "tools/completion/completion.h"

static const char fish_head[] =
	"# SPDX-License-Identifier: MIT OR Apache-2.0\n"
	"# Completion of @NAME@ for fish. Made from the tables of its options: do not edit.\n"
	"\n"
	"# Whether no verb was typed yet.\n"
	"function __@ID@_no_verb\n"
	"    test (count (commandline -opc)) -eq 1\n"
	"end\n"
	"\n"
	"# Whether the verb is $argv[1] and, where there is a second, so many words that are no "
	"options\n"
	"# follow it.\n"
	"function __@ID@_at\n"
	"    set -l words (commandline -opc)\n"
	"    test (count $words) -ge 2; and test $words[2] = $argv[1]; or return 1\n"
	"    set -q argv[2]; or return 0\n"
	"    test (count (string match -v -- '-*' $words[3..-1])) -eq $argv[2]\n"
	"end\n"
	"\n"
	"complete -c @NAME@ -f\n";

/* In '...'. */
static void fish_print_text(const char *text)
{
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

/* -f: no files, -F: files. The value of an option with -r is required. */
static void fish_print_offer(const struct offer *offer)
{
	switch (offer->kind) {
	case OFFER_FREE: printf(" -f"); return;
	case OFFER_FILES: printf(" -F"); return;
	case OFFER_DIRS:
		printf(" -f -a '(__fish_complete_directories (commandline -ct))");
		completion_print_words(offer->words, " ");
		printf("'");
		return;
	case OFFER_PAIRS:
		printf(" -f -a '(__fish_append , ");
		for (const struct options_word *row = offer->words; row->word; row++)
			printf("%s= ", row->word);
		printf(")'");
		return;
	case OFFER_WORDS:
	default:
		printf(" -f -a '");
		completion_print_words(offer->words, " ");
		printf("'");
		return;
	}
}

static void fish_begin_option(const struct command *command, const struct completion_option *option)
{
	completion_print("complete -c @NAME@ -n '__@ID@_at ");
	printf("%s' -l %s", command->name, option->name);
	if (option->letter)
		printf(" -s %c", option->letter);
	/* What may be left out is offered behind "=" only. */
	if (option->offer && !option->is_value_optional)
		printf(" -r");
}

static void fish_print_option(const struct command *command, const struct option *row)
{
	struct completion_option option = completion_option(command, row);

	fish_begin_option(command, &option);
	if (option.offer)
		fish_print_offer(option.offer);
	/* A line's text stands beside its words as well: "report: ..." is not what stop does. */
	if (option.offer && option.offer->kind == OFFER_WORDS) {
		printf("\n");
		fish_begin_option(command, &option);
		printf(" -f");
	}
	printf(" -d ");
	fish_print_text(option.text);
	printf("\n");
}

static void fish_print_words(const struct completion_program *program,
			     const struct command *command)
{
	if (!command->options) { /* help */
		for (size_t i = 0; i < program->n_commands; i++) {
			completion_print("complete -c @NAME@ -n '__@ID@_at ");
			printf("%s 0' -a %s\n", command->name, program->commands[i]->name);
		}
		return;
	}
	if (!command->word_offers) {
		completion_print("complete -c @NAME@ -n '__@ID@_at ");
		printf("%s' -F\n", command->name);
		return;
	}
	for (int n = 0; command->word_offers[n].option; n++) {
		completion_print("complete -c @NAME@ -n '__@ID@_at ");
		printf("%s %d'", command->name, n);
		fish_print_offer(&command->word_offers[n]);
		printf("\n");
	}
}

void fish_print(const struct completion_program *program)
{
	completion_print(fish_head);
	for (const struct option *row = program->options; row->name; row++) {
		completion_print("complete -c @NAME@ -n __@ID@_no_verb");
		printf(" -s %c -l %s\n", row->val, row->name);
	}
	for (size_t i = 0; i < program->n_commands; i++) {
		completion_print("complete -c @NAME@ -n __@ID@_no_verb");
		printf(" -a %s -d ", program->commands[i]->name);
		fish_print_text(program->commands[i]->summary);
		printf("\n");
	}
	for (size_t i = 0; i < program->n_commands; i++) {
		const struct command *command = program->commands[i];

		printf("\n");
		for (const struct option *row = command->options; row && row->name; row++)
			fish_print_option(command, row);
		fish_print_words(program, command);
	}
}
