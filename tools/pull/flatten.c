/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull flatten: what an image and its chain read, as one new file. To the
 * loop it is a pull of one image that is opened otherwise; so progress, stop
 * signals and results are those of a pull.
 *
 * An option to overwrite was rejected: the file that is there may be the only
 * copy of something, and `rm` says the same more plainly.
 */
#include "tools/pull/flatten.h"

#include "tools/cli/new_image.h"
#include "tools/cli/say.h"
#include "tools/pull/pull.h"

static const char flatten_help[] =
	"Usage: blockpull flatten [OPTION...] IMAGE OUT\n"
	"\n"
	"Writes the disk that IMAGE and its backing chain make up to a new file OUT,\n"
	"which needs no other. IMAGE is not changed. OUT must not exist; it appears\n"
	"when all of it is safely on disk.\n"
	"\n"
	"Options:\n"
	"  -f, --format FMT     OUT's format: raw, qcow2 or qed (default: IMAGE's)\n"
	"  -o, --options NAME=VALUE,...\n"
	"                       as for blockpull create: cluster_size, compat,\n"
	"                       refcount_bits, lazy_refcounts, compression_type,\n"
	"                       table_size\n"
	"  --compress[=TYPE[:LEVEL]]\n"
	"                       compressed clusters (qcow2): zlib (1-9), zstd (1-19)\n"
	"  --source-format FMT  IMAGE's format (default: detected)\n"
	"  --verify             read OUT back from the disk and compare it before it\n"
	"                       appears; a difference removes it (exit 5)\n"
	"  --bandwidth RATE     at most RATE bytes a second (default 0: no limit)\n"
	"  --burst SIZE         bytes that may follow an idle time at once\n"
	"  --host-budget FILE[:RATE]\n"
	"                       as of blockpull pull\n"
	"  --iops N             at most N reads and writes a second\n"
	"  --within TIME        be done in TIME (30m), raising the limit where it is late\n"
	"  --min-rate RATE      give way to others only above RATE bytes a second\n"
	"  --allow-backing DIR  backing files may lie below DIR too; repeatable; 'any',\n"
	"                       'none' (default: BLOCKPULL_ALLOW_BACKING)\n"
	"  --backing-format FMT format of backing files for which none is recorded;\n"
	"                       'auto': what they look like; FILE=FMT: of one of them,\n"
	"                       repeatable\n"
	"  --fd-map NAME=N      open no file: descriptor N is the file that the chain comes\n"
	"                       to as NAME, or records so; repeatable\n" OPTIONS_REMOTE_HELP
	"  --remote-timeout SECONDS\n"
	"                       how long a server may be away before the copying pauses\n"
	"                       (default 300)\n" OPTIONS_TLS_HELP OPTIONS_EXPECT_HELP
	"  --holes MODE         auto, read or trust\n"
	"  --io MODE            auto, uring or threads\n" OPTIONS_MEMORY_HELP
	"  --progress MODE      auto, bar, plain, json or none\n"
	"  --json               the result as a JSON line on stdout\n"
	"  -q, --quiet          only errors\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n"
	"\n"
	"SIGINT or SIGTERM removes what was begun and exits. See blockpull-flatten(1).\n";

enum {
	FLATTEN_SOURCE_FORMAT = PULL_OWN
};

static const struct option flatten_table[] = {
	{ "format", required_argument, NULL, 'f' },
	{ "options", required_argument, NULL, 'o' },
	{ "source-format", required_argument, NULL, FLATTEN_SOURCE_FORMAT },
	{ "allow-backing", required_argument, NULL, OPTIONS_ALLOW_BACKING },
	{ "backing-format", required_argument, NULL, OPTIONS_BACKING_FORMAT },
	OPTIONS_FDS,
	OPTIONS_REMOTE,
	OPTIONS_REMOTE_READ,
	OPTIONS_REMOTE_EXPECT,
	PULL_COMPRESS_OPTION,
	PULL_OPTIONS,
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct offer flatten_offers[] = {
	{ "options", OFFER_PAIRS, new_image_keys },
	{ "source-format", OFFER_WORDS, options_formats },
	PULL_COMPRESS_OFFER,
	PULL_OFFERS,
};

struct flatten_line {
	struct pull_options options;
	struct new_image image;
};

static int flatten_take(struct command_line *line, int option, char *text)
{
	struct flatten_line *flatten = (struct flatten_line *)line;
	int value = 0, code = pull_options_take(&flatten->options, option, text);

	if (code >= 0)
		return code;
	switch (option) {
	case 'f':
		code = options_word("flatten", "--format", text, options_formats, &value);
		flatten->image.options.format = value;
		return code;
	case 'o': return new_image_take(&flatten->image, "flatten", text);
	case FLATTEN_SOURCE_FORMAT:
		code = options_word("flatten", "--source-format", text, options_formats, &value);
		line->chain.disk.format = value;
		return code;
	default: return -1;
	}
}

static int flatten_check(struct command_line *line)
{
	struct flatten_line *flatten = (struct flatten_line *)line;
	enum bpull_format format = flatten->image.options.format;
	int code;

	flatten->image.options.size = sizeof(flatten->image.options);
	if (flatten->options.job.compression && format && format != BPULL_FORMAT_QCOW2)
		return say_usage("flatten", "--compress: %s images have no compressed clusters",
				 bpull_format_name(format));
	if (flatten->image.given_keys && format == BPULL_FORMAT_RAW)
		return say_usage("flatten", "-o has no meaning for raw images");
	code = new_image_check(&flatten->image, "flatten");
	if (!code)
		code = pull_options_finish(&flatten->options);
	if (code || !line->chain.bases.expects.n)
		return code;
	options_chain_look(&line->chain, line->words[0], line->chain.disk.format);
	return options_chain_judge(&line->chain, "flatten");
}

static int flatten_run(struct command_line *line)
{
	struct flatten_line *flatten = (struct flatten_line *)line;
	struct pull_image image = { .path = line->words[0],
				    .out = line->words[1],
				    .new_image = &flatten->image.options };

	return pull_images(&flatten->options, &image, 1);
}

const struct command flatten_command = {
	.name = "flatten",
	.summary = "copy what an image reads to a new file",
	.help = flatten_help,
	.letters = ":f:ho:q",
	.options = flatten_table,
	.offers = flatten_offers,
	.line_size = sizeof(struct flatten_line),
	.min_words = 2,
	.max_words = 2,
	.too_few = "an image and the name of the new file are needed",
	.too_many = "one image and one new file, no more",
	.take = flatten_take,
	.check = flatten_check,
	.run = flatten_run,
};
