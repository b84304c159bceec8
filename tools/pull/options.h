/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options of pull, and those that flatten has of them, too. */
#ifndef TOOLS_PULL_OPTIONS_H
#define TOOLS_PULL_OPTIONS_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "tools/cli/command.h"
#include "tools/cli/compression.h"
#include "tools/cli/host_budget.h"
#include "tools/cli/rates.h"
#include "tools/pull/list.h"
#include "tools/pull/progress.h"
#include "tools/trace/first.h"

extern const struct command pull_command;

struct pull_options {
	struct command_line line;
	struct bpull_engine_options engine;
	struct bpull_job_options job;
	enum progress_mode progress;
	bool dry_run;
	unsigned n_jobs;
	const char *host_budget;  /* FILE[:RATE], or NULL */
	const char *control;      /* a socket's path, or NULL */
	const char *metrics_file; /* or NULL */
	const char *list;         /* a file of names, "-", or NULL */
	bool is_null_separated;   /* that file */
	struct name_list names;   /* those of the file, in place of the command line's */
	struct shard shard;
	struct first first; /* what is copied before the rest */
};

/* What pull and flatten have in common: 0 taken, -1 none of them, else an exit code. */
int pull_options_take(struct pull_options *options, int option, const char *text);
/* The same of those that verbs have which write into an image that is there. */
int pull_job_options_take(struct pull_options *options, int option, const char *text);
/* What is wrong with them together; applies defaults. 0 or an exit code. */
int pull_options_finish(struct pull_options *options);

/* Values and rows of long options for both. */
enum pull_option {
	PULL_BANDWIDTH = OPTIONS_OWN,
	PULL_BURST,
	PULL_COMPRESS,
	PULL_IO,
	PULL_MEMORY,
	PULL_PROGRESS,
	PULL_VERIFY,
	PULL_ACCEPT_MIXED,
	PULL_COPY,
	PULL_DIRECT,
	PULL_ON_ERROR,
	PULL_OWN,
};
/* What they take. */
extern const struct options_word pull_io_words[], pull_progress_words[];
#define PULL_OFFERS                                                                   \
	{ "bandwidth", OFFER_FREE, NULL }, { "burst", OFFER_FREE, NULL },             \
		{ "io", OFFER_WORDS, pull_io_words }, { "memory", OFFER_FREE, NULL }, \
		{ "progress", OFFER_WORDS, pull_progress_words },                     \
	{                                                                             \
		NULL, OFFER_FREE, NULL                                                \
	}
#define PULL_OPTIONS                                                                             \
	{ "bandwidth", required_argument, NULL, PULL_BANDWIDTH },                                \
		{ "burst", required_argument, NULL, PULL_BURST }, OPTIONS_HOLES,                 \
		{ "io", required_argument, NULL, PULL_IO },                                      \
		{ "memory", required_argument, NULL, PULL_MEMORY },                              \
		{ "progress", required_argument, NULL, PULL_PROGRESS },                          \
		{ "verify", no_argument, NULL, PULL_VERIFY }, RATES_OPTIONS, HOST_BUDGET_OPTION, \
		OPTIONS_JSON, OPTIONS_QUIET

/* For verbs that may write compressed, share blocks, or write past the page cache: a commit does
 * none of it, as it writes as a guest does, into a file that was open for reading. */
#define PULL_COMPRESS_OPTION                                       \
	{                                                          \
		"compress", optional_argument, NULL, PULL_COMPRESS \
	}
#define PULL_COMPRESS_OFFER                                \
	{                                                  \
		"compress", OFFER_WORDS, compression_words \
	}
#define PULL_COPY_OPTION                                   \
	{                                                  \
		"copy", required_argument, NULL, PULL_COPY \
	}
#define PULL_DIRECT_OPTION                               \
	{                                                \
		"direct", no_argument, NULL, PULL_DIRECT \
	}
#define PULL_COPY_OFFER                              \
	{                                            \
		"copy", OFFER_WORDS, pull_copy_words \
	}

/* For verbs that write into an image that is there. */
extern const struct options_word pull_copy_words[], pull_on_error_words[];
#define PULL_JOB_OFFERS                                      \
	{                                                    \
		"on-error", OFFER_WORDS, pull_on_error_words \
	}
#define PULL_JOB_OPTIONS                                           \
	{ "accept-mixed", no_argument, NULL, PULL_ACCEPT_MIXED },  \
		{ "dry-run", no_argument, NULL, 'n' },             \
	{                                                          \
		"on-error", required_argument, NULL, PULL_ON_ERROR \
	}

#endif
