/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tools/completion/completion.h"

/* Text inside of '...[...]' or '...:...'. */
static void zsh_print_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			printf("'\\''");
		else if (strchr("[]:\\", *text))
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

/* What _arguments does to complete the value, or the word. */
static void zsh_print_action(const struct offer *offer)
{
	switch (offer->kind) {
	case OFFER_FREE: printf(" "); return;
	case OFFER_FILES: printf("_files"); return;
	case OFFER_DIRS:
		printf("{compadd --");
		completion_print_words(offer->words, " ");
		printf("; _files -/}");
		return;
	case OFFER_PAIRS:
		printf("{compset -P \"*,\"; compadd -S = --");
		completion_print_words(offer->words, " ");
		printf("}");
		return;
	case OFFER_WORDS:
	default:
		printf("(");
		completion_print_words(offer->words, " ");
		printf(")");
		return;
	}
}

static void zsh_print_value(const struct completion_option *option)
{
	if (!option->offer)
		return;
	printf(option->is_value_optional ? "::" : ":");
	zsh_print_text(option->value);
	printf(":");
	zsh_print_action(option->offer);
}

static void zsh_print_option(const struct command *command, const struct option *row)
{
	struct completion_option option = completion_option(command, row);
	const char *star = option.is_repeatable ? "*" : "";

	if (option.letter) {
		printf(" \\\n                '%s-%c%s[", star, option.letter,
		       option.offer ? "+" : "");
		zsh_print_text(option.text);
		printf("]");
		zsh_print_value(&option);
		printf("'");
	}
	printf(" \\\n                '%s--%s%s[", star, option.name,
	       !option.offer              ? ""
	       : option.is_value_optional ? "=-"
					  : "=");
	zsh_print_text(option.text);
	printf("]");
	zsh_print_value(&option);
	printf("'");
}

static void zsh_print_word(const char *place, const struct offer *offer)
{
	printf(" \\\n                '%s:%s:", place, *offer->option ? offer->option : "IMAGE");
	zsh_print_action(offer);
	printf("'");
}

static void zsh_print_words(const struct command *command)
{
	char place[16];
	int n = 0;

	if (!command->word_offers && !command->max_words) {
		zsh_print_word("*", offer_word(command, 0));
		return;
	}
	for (;
	     command->word_offers ? command->word_offers[n].option != NULL : n < command->max_words;
	     n++) {
		snprintf(place, sizeof(place), "%d", n + 1);
		zsh_print_word(place, offer_word(command, n));
	}
}

static void zsh_print_verb(const struct command *command)
{
	printf("        %s)\n            ", command->name);
	if (!command->options) { /* help */
		printf("((CURRENT == 2)) && _describe command verbs\n            ;;\n");
		return;
	}
	printf("_arguments -s -S");
	for (const struct option *row = command->options; row->name; row++)
		zsh_print_option(command, row);
	zsh_print_words(command);
	printf("\n            ;;\n");
}

void zsh_print(const struct completion_program *program)
{
	completion_print(
		"#compdef @NAME@\n"
		"# SPDX-License-Identifier: MIT OR Apache-2.0\n"
		"# Completion of @NAME@ for zsh. Made from the tables of its options: do not "
		"edit.\n"
		"\n"
		"_@ID@()\n"
		"{\n"
		"    local context state line curcontext=\"$curcontext\"\n"
		"    typeset -A opt_args\n"
		"    local -a verbs\n"
		"    verbs=(\n");
	for (size_t i = 0; i < program->n_commands; i++) {
		printf("        '%s:", program->commands[i]->name);
		zsh_print_text(program->commands[i]->summary);
		printf("'\n");
	}
	printf("    )\n    _arguments -C");
	for (const struct option *row = program->options; row->name; row++)
		printf(" \\\n        '(- *)-%c[%s]' '(- *)--%s[%s]'", row->val, row->name,
		       row->name, row->name);
	printf(" \\\n        '1: :->verb' '*:: :->words' && return\n"
	       "    if [[ $state == verb ]]; then\n"
	       "        _describe command verbs\n"
	       "        return\n"
	       "    fi\n"
	       "    case $words[1] in\n");
	for (size_t i = 0; i < program->n_commands; i++)
		zsh_print_verb(program->commands[i]);
	completion_print("    esac\n}\n\n_@ID@ \"$@\"\n");
}
