/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The script needs no other file: bash-completion's helpers are not installed
 * everywhere. Names of files are left to readline, which knows how to quote
 * them; where nothing can be offered it is told to offer no names either.
 */
#include <stdio.h>

#include "tools/completion/completion.h"

static const char bash_head[] =
	"# SPDX-License-Identifier: MIT OR Apache-2.0\n"
	"# Completion of @NAME@ for bash. Made from the tables of its options: do not edit.\n"
	"\n"
	"# Offers $1 words; $2: what else, files, dirs, pairs or nothing.\n"
	"_@ID@_offer()\n"
	"{\n"
	"    mapfile -t COMPREPLY < <(compgen -P \"$prefix\" -W \"$1\" -- \"$cur\")\n"
	"    case $2 in\n"
	"        files) [[ $prefix ]] && compopt -o filenames 2>/dev/null &&\n"
	"            mapfile -t COMPREPLY < <(compgen -P \"$prefix\" -f -- \"$cur\") ;;\n"
	"        dirs) compopt -o filenames 2>/dev/null\n"
	"            mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < "
	"<(compgen -P \"$prefix\" -d -- \"$cur\") ;;\n"
	"        pairs) compopt +o default -o nospace 2>/dev/null\n"
	"            [[ $cur == *,* ]] && name='' prefix=$prefix${cur%,*}, cur=${cur##*,}\n"
	"            COMPREPLY=()\n"
	"            [[ $name ]] ||\n"
	"                mapfile -t COMPREPLY < "
	"<(compgen -P \"$prefix\" -S = -W \"$1\" -- \"$cur\") ;;\n"
	"        *) compopt +o default 2>/dev/null ;;\n"
	"    esac\n"
	"    return 0\n"
	"}\n"
	"\n"
	"# How many words before this one are neither options nor their values; $1: options with "
	"one.\n"
	"_@ID@_count()\n"
	"{\n"
	"    local i\n"
	"    n=0\n"
	"    for ((i = 2; i < COMP_CWORD; i++)); do\n"
	"        case ${COMP_WORDS[i]} in\n"
	"            =) ((++i)) ;;\n"
	"            -*) [[ $1 == *\" ${COMP_WORDS[i]} \"* && ${COMP_WORDS[i + 1]} != = ]] && "
	"((++i))"
	" ;;\n"
	"            *) ((++n)) ;;\n"
	"        esac\n"
	"    done\n"
	"    return 0\n"
	"}\n"
	"\n"
	"_@ID@()\n"
	"{\n"
	"    local cur=${COMP_WORDS[COMP_CWORD]} at=$((COMP_CWORD - 1)) equals='' n=0 prefix=''\n"
	"    local option name=''\n"
	"    COMPREPLY=()\n"
	"    # Bash parts --format=raw into three words, where COMP_WORDBREAKS has the \"=\".\n"
	"    if [[ $cur == --*=* ]]; then\n"
	"        option=${cur%%=*} equals=1 prefix=${cur%%=*}= cur=${cur#*=}\n"
	"    else\n"
	"        [[ $cur == = ]] && cur='' equals=1\n"
	"        [[ ! $equals && ${COMP_WORDS[at]} == = ]] && equals=1 at=$((at - 1))\n"
	"        option=${COMP_WORDS[at]}\n"
	"    fi\n"
	"    # Behind a NAME=, which an option takes.\n"
	"    if [[ $equals && $option != -* ]]; then\n"
	"        name=$option\n"
	"        while ((at > 1)) && [[ ${COMP_WORDS[at]} != -* ]]; do ((at--)); done\n"
	"        option=${COMP_WORDS[at]}\n"
	"    fi\n";

static const char *const bash_kinds[] = {
	[OFFER_WORDS] = "words", [OFFER_FREE] = "nothing", [OFFER_FILES] = "files",
	[OFFER_DIRS] = "dirs",   [OFFER_PAIRS] = "pairs",
};

static void bash_print_offer(const struct offer *offer)
{
	completion_print("_@ID@_offer '");
	completion_print_words(offer->words, " ");
	printf("' %s", bash_kinds[offer->kind]);
}

/* A name, and the letter's. */
static void bash_print_option(const struct completion_option *option, const char *separator)
{
	if (option->letter)
		printf("-%c%s", option->letter, separator);
	printf("--%s", option->name);
}

static void bash_print_values(const struct command *command)
{
	printf("            case $option in\n");
	for (const struct option *row = command->options; row->name; row++) {
		struct completion_option option = completion_option(command, row);

		if (!option.offer)
			continue;
		printf("                ");
		bash_print_option(&option, " | ");
		printf(option.is_value_optional ? ") [[ $equals ]] && { " : ") ");
		bash_print_offer(option.offer);
		printf(option.is_value_optional ? "; return; } ;;\n" : "; return ;;\n");
	}
	printf("            esac\n");
}

static void bash_print_options(const struct command *command)
{
	completion_print("            if [[ $cur == -* ]]; then\n                _@ID@_offer '");
	for (const struct option *row = command->options; row->name; row++) {
		struct completion_option option = completion_option(command, row);

		printf(" ");
		bash_print_option(&option, " ");
	}
	printf("' nothing\n                return\n            fi\n");
}

static void bash_print_words(const struct command *command)
{
	const struct offer *offer = offer_word(command, 0);

	completion_print("            _@ID@_count ' ");
	for (const struct option *row = command->options; row->name; row++) {
		struct completion_option option = completion_option(command, row);

		if (!option.offer || option.is_value_optional)
			continue;
		bash_print_option(&option, " ");
		printf(" ");
	}
	printf("'\n            case $n in\n");
	for (int n = 0; n < 8; n++) {
		if (!command->word_offers && !command->max_words)
			break;
		offer = offer_word(command, n);
		if (offer->kind == OFFER_FREE)
			break;
		printf("                %d) ", n);
		bash_print_offer(offer);
		printf(" ;;\n");
	}
	if (command->word_offers || command->max_words)
		completion_print("                *) _@ID@_offer '' nothing ;;\n");
	else
		completion_print("                *) _@ID@_offer '' files ;;\n");
	printf("            esac\n");
}

static void bash_print_verb(const struct command *command)
{
	printf("        %s)\n", command->name);
	if (command->options) {
		bash_print_values(command);
		bash_print_options(command);
		bash_print_words(command);
	} else { /* help */
		completion_print(
			"            ((COMP_CWORD == 2)) || { _@ID@_offer '' nothing; return; "
			"}\n"
			"            _@ID@_offer \"$verbs\" nothing\n");
	}
	printf("            ;;\n");
}

void bash_print(const struct completion_program *program)
{
	completion_print(bash_head);
	printf("    local verbs='");
	for (size_t i = 0; i < program->n_commands; i++)
		printf(" %s", program->commands[i]->name);
	completion_print("'\n    if ((COMP_CWORD == 1)); then\n        _@ID@_offer \"$verbs");
	for (const struct option *row = program->options; row->name; row++)
		printf(" -%c --%s", row->val, row->name);
	printf("\" nothing\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
	for (size_t i = 0; i < program->n_commands; i++)
		bash_print_verb(program->commands[i]);
	completion_print("        *) _@ID@_offer '' nothing ;;\n"
			 "    esac\n"
			 "}\n"
			 "complete -o default -F _@ID@ @NAME@\n");
}
