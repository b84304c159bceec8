/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The command line of blockpull commit. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/chain/commit.h"
#include "tools/chain/failed.h"
#include "tools/chain/job_options.h"
#include "tools/chain/verbs.h"
#include "tools/cli/bases_option.h"
#include "tools/cli/say.h"
#include "tools/pull/dropped.h"
#include "tools/words/exit_code.h"

static const char commit_help[] =
	"Usage: blockpull commit [OPTION...] IMAGE\n"
	"\n"
	"Writes what IMAGE holds, and what the files between hold, down into a file of its\n"
	"chain, by default the one right below. IMAGE is empty then, and reads the same at\n"
	"every moment. Other images that have that file in their chains would read something\n"
	"else: a commit is refused where one is known. A stopped or broken commit is continued\n"
	"by running it again.\n"
	"\n"
	"Options:\n"
	"  --base FILE          write into FILE of the chain\n"
	"  --keep               leave in IMAGE what it holds\n"
	"  --shared-base-is-mine\n"
	"                       go on although other images read from FILE, or from a file\n"
	"                       between\n" CHAIN_JOB_HELP(
		"") "\n"
		    "SIGINT or SIGTERM stops cleanly and keeps what was written. See\n"
		    "blockpull-commit(1).\n";

enum {
	COMMIT_BASE = PULL_OWN,
	COMMIT_KEEP,
	COMMIT_MINE,
};

static const struct option commit_table[] = {
	{ "base", required_argument, NULL, COMMIT_BASE },
	{ "keep", no_argument, NULL, COMMIT_KEEP },
	{ "shared-base-is-mine", no_argument, NULL, COMMIT_MINE },
	CHAIN_JOB_OPTIONS,
	OPTIONS_END,
};

static const struct offer commit_offers[] = {
	{ "base", OFFER_FILES, NULL },
	CHAIN_JOB_OFFERS,
};

struct commit_line {
	struct pull_options options;
	const char *base; /* or NULL */
	bool keeps, base_is_mine;
};

static int commit_take(struct command_line *line, int option, char *text)
{
	struct commit_line *commit = (struct commit_line *)line;
	int code = chain_job_take(&commit->options, option, text);

	if (code >= 0)
		return code;
	switch (option) {
	case COMMIT_BASE: commit->base = text; return 0;
	case COMMIT_KEEP: commit->keeps = true; return 0;
	case COMMIT_MINE: commit->base_is_mine = true; return 0;
	default: return -1;
	}
}

static int commit_check(struct command_line *line)
{
	return pull_options_finish((struct pull_options *)line);
}

/* Which file is written into. 0, or -EINVAL with a sentence. */
static int commit_find_base(const struct commit_line *line, struct commit *c)
{
	struct bpull_error *error = &c->image.error;
	int base = line->base ? chain_files_find(&c->files, line->base) : 1;

	if (c->files.n > 1 && base > 0) {
		c->base = (unsigned)base;
		return 0;
	}
	if (c->files.n > 1 && base < 0)
		return chain_has_none(line->base, c->image.path, error);
	error->code = -EINVAL;
	if (c->files.n < 2)
		snprintf(error->message, sizeof(error->message),
			 "'%s' has no backing file: there is nothing to commit into",
			 c->image.path);
	else
		snprintf(error->message, sizeof(error->message),
			 "'%s' is the image itself: name a file below it", line->base);
	return -EINVAL;
}

static int commit_run(struct command_line *line)
{
	struct commit_line *commit = (struct commit_line *)line;
	struct commit c = { .image.path = line->words[0],
			    .keeps = commit->keeps,
			    .base_is_mine = commit->base_is_mine };
	int rc = chain_files_open(&c.files, line->words[0], &line->chain.disk, &c.image.error);
	int code;

	if (!rc)
		rc = commit_find_base(commit, &c);
	code = rc ? commit_fail(&c, line->json, rc) : commit_images(&c, &commit->options);
	chain_files_free(&c.files);
	others_free(&c.others);
	dropped_forget(&c.image);
	return code;
}

const struct command commit_command = {
	.name = "commit",
	.summary = "write what an image holds into a file below it",
	.help = commit_help,
	.letters = ":f:hnq",
	.options = commit_table,
	.offers = commit_offers,
	.line_size = sizeof(struct commit_line),
	.min_words = 1,
	.max_words = 1,
	.too_few = "an image's name is missing",
	.too_many = "one image at a time is committed",
	.take = commit_take,
	.check = commit_check,
	.run = commit_run,
};
