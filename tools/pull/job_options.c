/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options of verbs that write into an image that is there; a flatten's file is new. */
#include "tools/pull/options.h"

const struct options_word pull_on_error_words[] = {
	{ "report", BPULL_ON_ERROR_REPORT },
	{ "stop", BPULL_ON_ERROR_STOP },
	{ "enospc", BPULL_ON_ERROR_ENOSPC },
	{ NULL, 0 },
};

const struct options_word pull_copy_words[] = {
	{ "auto", BPULL_COPY_AUTO },
	{ "clone", BPULL_COPY_CLONE },
	{ "read", BPULL_COPY_READ },
	{ NULL, 0 },
};

static int pull_take_copy(struct pull_options *options, const char *text)
{
	int value = 0;
	int code =
		options_word(options->line.command->name, "--copy", text, pull_copy_words, &value);

	options->job.copy = value;
	return code;
}

static int pull_take_on_error(struct pull_options *options, const char *text)
{
	int value = 0;
	int code = options_word(options->line.command->name, "--on-error", text,
				pull_on_error_words, &value);

	options->job.on_error = value;
	return code;
}

int pull_job_options_take(struct pull_options *options, int option, const char *text)
{
	switch (option) {
	case PULL_ACCEPT_MIXED: options->job.flags |= BPULL_JOB_ACCEPT_MIXED; return 0;
	case PULL_COPY: return pull_take_copy(options, text);
	case PULL_DIRECT: options->line.chain.disk.flags |= BPULL_DISK_DIRECT; return 0;
	case PULL_ON_ERROR: return pull_take_on_error(options, text);
	case 'n': options->dry_run = true; return 0;
	default: return -1;
	}
}
