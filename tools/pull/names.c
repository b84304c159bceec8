/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names come from the command line or from a list, never both: which of the two
 * comes first would decide what a shard takes.
 *
 * A list without a name is an error, since it is mostly the wrong file; a shard
 * without one is not: there are more shards than names then.
 */
#include "tools/pull/names.h"

#include <stdlib.h>

#include "tools/cli/say.h"
#include "tools/pull/pull.h"
#include "tools/words/exit_code.h"

int names_check(struct pull_options *options)
{
	struct command_line *line = &options->line;
	int code;

	if (options->is_null_separated && !options->list)
		return say_usage("pull", "--null has no meaning without --list");
	if (options->list && line->n_words)
		return say_usage("pull",
				 "names come from --list or the command line, not both: "
				 "'%s'",
				 line->words[0]);
	if (options->list) {
		code = name_list_read(&options->names, options->list, options->is_null_separated);
		if (code)
			return code;
		line->words = options->names.names;
		line->n_words = options->names.n;
	}
	if (!line->n_words)
		return say_usage("pull", "an image's name is missing");
	line->n_words = shard_take(&options->shard, line->words, line->n_words);
	return 0;
}

int names_run(struct command_line *line)
{
	struct pull_options *options = (struct pull_options *)line;
	struct pull_image *images;
	int code;

	if (!line->n_words) {
		if (!line->quiet)
			say_note("shard %u/%u has no image: nothing to do", options->shard.idx,
				 options->shard.n);
		name_list_free(&options->names);
		return EXIT_CODE_DONE;
	}
	images = calloc(line->n_words, sizeof(*images));
	if (!images) {
		say_error("out of memory");
		name_list_free(&options->names);
		return EXIT_CODE_FAILED;
	}
	for (int i = 0; i < line->n_words; i++)
		images[i].path = line->words[i];
	code = pull_images(options, images, line->n_words);
	free(images);
	first_free(&options->first);
	name_list_free(&options->names);
	return code;
}
