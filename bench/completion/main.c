/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Makes the completions of blockpull-bench, as tools/completion/main.c those of the command.
 *
 * usage: bench_completion bash|zsh|fish >SCRIPT
 */
#include <stdio.h>
#include <string.h>

#include "bench/commands.h"
#include "tools/completion/completion.h"

#define MAX_VERBS 16
#define MAX_ROWS  32

static const struct options_word rw_words[] = {
	{ "read", 0 }, { "write", 0 }, { "alloc", 0 }, { NULL, 0 }
};
static const struct options_word format_words[] = { { "qcow2", 0 }, { "qed", 0 }, { NULL, 0 } };
static const struct options_word pattern_words[] = {
	{ "dense", 0 }, { "scattered", 0 }, { "half", 0 }, { "chain", 0 }, { NULL, 0 },
};

static const struct options_word base_words[] = { { "raw", 0 }, { "qcow2", 0 }, { NULL, 0 } };
static const struct options_word merge_pattern_words[] = { { "dense", 0 },
							   { "scattered", 0 },
							   { NULL, 0 } };

/* Of compact and commit, which have fewer patterns. */
static const struct offer merge_offers[] = {
	{ "cluster-size", OFFER_FREE, NULL }, { "data", OFFER_FREE, NULL },
	{ "dir", OFFER_DIRS, NULL },          { "pattern", OFFER_WORDS, merge_pattern_words },
	{ "rounds", OFFER_FREE, NULL },       { NULL, OFFER_FREE, NULL },
};

/* An option means the same in each other verb. */
static const struct offer offers[] = {
	{ "base", OFFER_WORDS, base_words },
	{ "cluster-size", OFFER_FREE, NULL },
	{ "data", OFFER_FREE, NULL },
	{ "delay", OFFER_FREE, NULL },
	{ "depth", OFFER_FREE, NULL },
	{ "dir", OFFER_DIRS, NULL },
	{ "format", OFFER_WORDS, format_words },
	{ "jobs", OFFER_FREE, NULL },
	{ "pattern", OFFER_WORDS, pattern_words },
	{ "image-dir", OFFER_DIRS, NULL },
	{ "images", OFFER_FREE, NULL },
	{ "processes", OFFER_FREE, NULL },
	{ "rate", OFFER_FREE, NULL },
	{ "rounds", OFFER_FREE, NULL },
	{ "rw", OFFER_WORDS, rw_words },
	{ "seconds", OFFER_FREE, NULL },
	{ "size", OFFER_FREE, NULL },
	{ "speed", OFFER_FREE, NULL },
	{ "times", OFFER_FREE, NULL },
	{ "trace", OFFER_FILES, NULL },
	{ NULL, OFFER_FREE, NULL },
};
static const struct offer no_words[] = { { NULL, OFFER_FREE, NULL } };

/* The verb's options with --help, which its own table has not. False: there is no room. */
static bool add_help(const struct option *table, struct option *rows)
{
	size_t n = 0;

	while (table[n].name)
		n++;
	if (n + 2 > MAX_ROWS)
		return false;
	memcpy(rows, table, n * sizeof(*rows));
	rows[n] = (struct option){ "help", no_argument, NULL, 'h' };
	rows[n + 1] = (struct option){ NULL, 0, NULL, 0 };
	return true;
}

int main(int argc, char **argv)
{
	static struct option rows[MAX_VERBS][MAX_ROWS];
	static struct command described[MAX_VERBS];
	const struct command *commands[MAX_VERBS];
	const struct completion_program program = { "blockpull-bench", "blockpull_bench", commands,
						    bench_verbs_n, bench_options };

	for (size_t i = 0; i < bench_verbs_n; i++) {
		const struct bench_verb *verb = &bench_verbs[i];

		if (i == MAX_VERBS || !add_help(verb->options, rows[i])) {
			fputs("completion: more verbs or options than there is room for\n", stderr);
			return 1;
		}
		described[i] =
			(struct command){ .name = verb->name,
					  .summary = verb->summary,
					  .help = verb->help,
					  .letters = "h",
					  .options = rows[i],
					  .offers = verb->help == compact_help ||
								    verb->help == commit_help
							    ? merge_offers
							    : offers,
					  .word_offers = verb->takes_files ? NULL : no_words };
		commands[i] = &described[i];
	}
	return completion_main(&program, argc, argv);
}
