/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What main.c's table is made of, and how the commands read their options.
 */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/blockpull.h"

/* argv[0] is the command's name. Returns the exit code. */
int pull_main(int argc, char **argv);
int guest_main(int argc, char **argv);
int limit_main(int argc, char **argv);
int stall_main(int argc, char **argv);
int boot_main(int argc, char **argv);
int cold_main(int argc, char **argv);
int fanout_main(int argc, char **argv);
int compact_main(int argc, char **argv);
int commit_main(int argc, char **argv);
int report_main(int argc, char **argv);
extern const char pull_help[], guest_help[], limit_help[], stall_help[], boot_help[], cold_help[],
	fanout_help[], compact_help[], commit_help[], report_help[];
/* All but --help, which main.c sees to. */
extern const struct option pull_options[], guest_options[], limit_options[], stall_options[],
	boot_options[], cold_options[], fanout_options[], merge_options[], report_options[];

struct bench_verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
	const char *help;
	const struct option *options;
	bool takes_files; /* words that are no options */
};

extern const struct bench_verb bench_verbs[];
extern const size_t bench_verbs_n;
/* In a verb's place. */
extern const struct option bench_options[];

/* Reads all options, of which each but a wrong one goes to take(), with its value in optarg. Where
 * words are left, none is wanted. 0, or an exit code after saying what is wrong. */
int commands_parse(int argc, char **argv, const struct option *table,
		   int (*take)(void *bench, int option), void *bench);
/* One option as getopt_long() returns it; '?': said what is wrong. For verbs that take names. */
int commands_option(int argc, char **argv, const struct option *table);
/* The values of --size and the like. 0 or EXIT_CODE_USAGE, having said why. */
int commands_size(const char *command, const char *option, uint64_t *bytes);
int commands_rate(const char *command, const char *option, uint64_t *bytes);
int commands_count(const char *command, const char *option, uint64_t min, uint64_t max,
		   uint64_t *value);
/* --cluster-size. */
int commands_cluster(const char *command, uint32_t *bytes);
/* One of n words, as its index. */
int commands_word(const char *command, const char *option, const char *const *words, unsigned n,
		  unsigned *which);

#endif
