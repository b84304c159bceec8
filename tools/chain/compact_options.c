/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The command line of blockpull compact, and the stretch of the chain that it means. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/chain/compact.h"
#include "tools/chain/failed.h"
#include "tools/chain/job_options.h"
#include "tools/chain/verbs.h"
#include "tools/cli/bases_option.h"
#include "tools/cli/say.h"
#include "tools/pull/dropped.h"
#include "tools/words/exit_code.h"

/* A commit has them not. */
#define COMPACT_JOB_HELP                                                                     \
	"  --copy MODE          auto: share blocks where the file system can, else copy;\n"  \
	"                       clone: fail where it can't; read: always copy\n"             \
	"  --compress[=TYPE[:LEVEL]]\n"                                                      \
	"                       write what is copied compressed (qcow2): zlib (1-9), zstd\n" \
	"                       (1-19)\n"                                                    \
	"  --direct             write past the page cache (O_DIRECT)\n"

static const char compact_help[] =
	"Usage: blockpull compact [OPTION...] --keep N IMAGE\n"
	"       blockpull compact [OPTION...] --from A --to B IMAGE\n"
	"\n"
	"Makes one file of several of IMAGE's chain: the upper one gets what it reads from\n"
	"the others, which the chain does not need any more then. Nothing but that file is\n"
	"written, and the disk reads the same at every moment. A stopped or broken\n"
	"compaction is continued by running it again.\n"
	"\n"
	"Options:\n"
	"  --keep N             leave at most N files, IMAGE and the lowest one counted:\n"
	"                       those next above the lowest become one; with 1 IMAGE needs\n"
	"                       no other file\n"
	"  --from A             the upper file of those that become one; it keeps its name\n"
	"  --to B               the lower one\n"
	"  --unlink             remove the files that the chain does not need any more, when\n"
	"                       that is safely on disk; refused where an image beside them\n"
	"                       reads from one\n" CHAIN_JOB_HELP(
		COMPACT_JOB_HELP) "\n"
				  "SIGINT or SIGTERM stops cleanly and keeps what was copied. See\n"
				  "blockpull-compact(1).\n";

enum {
	COMPACT_FROM = PULL_OWN,
	COMPACT_KEEP,
	COMPACT_TO,
	COMPACT_UNLINK,
};

static const struct option compact_table[] = {
	{ "from", required_argument, NULL, COMPACT_FROM },
	{ "keep", required_argument, NULL, COMPACT_KEEP },
	{ "to", required_argument, NULL, COMPACT_TO },
	{ "unlink", no_argument, NULL, COMPACT_UNLINK },
	PULL_COMPRESS_OPTION,
	PULL_COPY_OPTION,
	PULL_DIRECT_OPTION,
	CHAIN_JOB_OPTIONS,
	OPTIONS_END,
};

static const struct offer compact_offers[] = {
	{ "from", OFFER_FILES, NULL },
	{ "keep", OFFER_FREE, NULL },
	{ "to", OFFER_FILES, NULL },
	PULL_COMPRESS_OFFER,
	PULL_COPY_OFFER,
	CHAIN_JOB_OFFERS,
};

struct compact_line {
	struct pull_options options;
	const char *from, *to; /* or NULL */
	unsigned n_keep;       /* 0: not said */
	bool unlinks;
};

static int compact_take_keep(struct compact_line *compact, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '1' || *text > '9' || *end || n > 100000)
		return say_usage("compact", "--keep: '%s' is not a number of files from 1 on",
				 text);
	compact->n_keep = (unsigned)n;
	return 0;
}

static int compact_take(struct command_line *line, int option, char *text)
{
	struct compact_line *compact = (struct compact_line *)line;
	int code = chain_job_take(&compact->options, option, text);

	if (code >= 0)
		return code;
	switch (option) {
	case COMPACT_FROM: compact->from = text; return 0;
	case COMPACT_KEEP: return compact_take_keep(compact, text);
	case COMPACT_TO: compact->to = text; return 0;
	case COMPACT_UNLINK: compact->unlinks = true; return 0;
	default: return -1;
	}
}

static int compact_check(struct command_line *line)
{
	struct compact_line *compact = (struct compact_line *)line;

	if (!compact->n_keep && !(compact->from && compact->to))
		return say_usage("compact", "say which files become one: --keep N, or --from A and "
					    "--to B");
	if (compact->n_keep && (compact->from || compact->to))
		return say_usage("compact", "--keep says which files become one, so do --from and "
					    "--to: give one of the two");
	return pull_options_finish(&compact->options);
}

/* Whether the file of this name, which the chain has not, reads from what the upper file reads
 * from. So it is where one was killed behind the change of the link, and is run again; and so it is
 * with another disk of the same template. */
static bool compact_may_be_merged(const struct compact *c, unsigned top, const char *name,
				  const struct bpull_disk_options *how)
{
	struct bpull_disk_options look = *how;
	struct bpull_error error = { 0 };
	struct chain_files lower;
	bool may_be;

	look.format = BPULL_FORMAT_UNKNOWN;
	may_be = !chain_files_open(&lower, name, &look, &error);
	if (may_be && top + 1 < c->files.n)
		may_be = lower.n > 1 && lower.list[1].is_here &&
			 chain_files_find_same(&c->files, &lower.list[1].st) == (int)top + 1;
	else
		may_be = may_be && lower.n == 1;
	chain_files_free(&lower);
	return may_be;
}

/* What was merged may go only when what the chain has is durable. 0, or an exit code. */
static int compact_sync(struct compact_line *line, struct compact *c)
{
	const char *name;
	int rc = chain_files_sync(&c->files, &name);

	if (!rc)
		return 0;
	snprintf(c->image.error.message, sizeof(c->image.error.message),
		 "'%s' can't be made durable: %s", name, strerror(-rc));
	return compact_fail(c, line->options.line.json, rc);
}

/* No file of the chain has the name that an option gave. That is never called done: the user
 * removes the lower file then, which may be another disk. Returns an exit code. */
static int compact_miss(struct compact_line *line, struct compact *c, int top)
{
	const char *name = top < 0 ? line->from : line->to;
	int code;

	if (top < 0 ||
	    !compact_may_be_merged(c, (unsigned)top, name, &line->options.line.chain.disk))
		return compact_fail(c, line->options.line.json,
				    chain_has_none(name, c->path, &c->image.error));
	code = compact_sync(line, c);
	if (code)
		return code;
	c->image.error.code = -EPERM;
	snprintf(c->image.error.message, sizeof(c->image.error.message),
		 "'%s': is no file of the chain of '%s', and is left alone: it is what '%s' was "
		 "merged with, if this command was killed at its end before, or another disk",
		 name, c->path, line->from);
	return compact_fail(c, line->options.line.json, -EPERM);
}

/* Finds the stretch. 0: *found says whether there is one; else an exit code. */
static int compact_find_stretch(struct compact_line *line, struct compact *c, bool *found)
{
	int top, bottom;

	*found = true;
	if (line->n_keep) {
		*found = stretch_to_keep(c->files.n, line->n_keep, &c->stretch);
		return 0;
	}
	top = chain_files_find(&c->files, line->from);
	bottom = chain_files_find(&c->files, line->to);
	if (top < 0 || bottom < 0)
		return compact_miss(line, c, top);
	if (top >= bottom)
		return say_usage("compact", "--to: '%s' must lie below '%s' in the chain", line->to,
				 line->from);
	c->stretch = (struct stretch){ (unsigned)top, (unsigned)bottom };
	return 0;
}

/* Done means that what is in the chain no more may go. */
static int compact_say_nothing(struct compact_line *line, struct compact *c)
{
	int code = compact_sync(line, c);

	if (code)
		return code;
	if (!line->options.line.quiet && !line->options.line.json)
		say_note("%s: its chain has %u %s; there is nothing to compact", c->path,
			 c->files.n, c->files.n == 1 ? "file" : "files");
	if (line->options.line.json)
		compact_json_nothing(c, line->options.dry_run);
	return EXIT_CODE_DONE;
}

static int compact_with_files(struct compact_line *line, struct compact *c)
{
	bool found;
	int code = compact_find_stretch(line, c, &found);

	if (code)
		return code;
	return found ? compact_images(c, &line->options) : compact_say_nothing(line, c);
}

static int compact_run(struct command_line *line)
{
	struct compact_line *compact = (struct compact_line *)line;
	struct compact c = { .path = line->words[0], .wants_unlink = compact->unlinks };
	int rc, code;

	c.image.error = (struct bpull_error){ 0 };
	rc = chain_files_open(&c.files, c.path, &line->chain.disk, &c.image.error);
	code = rc ? compact_fail(&c, line->json, rc) : compact_with_files(compact, &c);
	chain_files_free(&c.files);
	others_free(&c.others);
	dropped_forget(&c.image);
	free(c.own_dir);
	return code;
}

const struct command compact_command = {
	.name = "compact",
	.summary = "make one file of several in the middle of a chain",
	.help = compact_help,
	.letters = ":f:hnq",
	.options = compact_table,
	.offers = compact_offers,
	.line_size = sizeof(struct compact_line),
	.min_words = 1,
	.max_words = 1,
	.too_few = "an image's name is missing",
	.too_many = "compact changes the chain of one image at a time",
	.take = compact_take,
	.check = compact_check,
	.run = compact_run,
};
