/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull create: a new, empty image, with qemu-img create's letters and -o
 * names. What a value may be is the library's to say; this file only turns
 * words into fields, so that the two can't disagree.
 *
 * Detecting the backing file's format was rejected, as everywhere: a guest can
 * write a qcow2 header into a raw disk.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tools/commands.h"
#include "tools/words/exit_code.h"
#include "tools/cli/new_image.h"
#include "tools/cli/options.h"
#include "tools/cli/say.h"
#include "tools/words/size.h"
#include "tools/cli/stop.h"

const char create_help[] =
	"Usage: blockpull create -f FORMAT [-o NAME=VALUE,...] [-b BASE -F FORMAT]\n"
	"                        IMAGE [SIZE]\n"
	"\n"
	"Makes a new, empty image. An existing file is never overwritten. SIZE (10G,\n"
	"1.5T) may be left out with a backing file: it is the backing file's then.\n"
	"\n"
	"Options:\n"
	"  -f, --format FMT           qcow2 or qed\n"
	"  -b, --backing BASE         backing file, as it is to be recorded: a relative\n"
	"                             name is looked for beside IMAGE\n"
	"  -F, --backing-format FMT   its format: raw, qcow2 or qed; it must be given\n"
	"  -o NAME=VALUE,...          repeatable:\n"
	"     cluster_size=SIZE       bytes, a power of two (default 64K)\n"
	"     compat=0.10|1.1         qcow2: version 2 or 3 (default 1.1)\n"
	"     refcount_bits=N         qcow2: 1, 2, 4 ... 64 (default 16)\n"
	"     lazy_refcounts=on|off   qcow2 (default off)\n"
	"     compression_type=TYPE   qcow2: zlib or zstd (default zlib)\n"
	"     table_size=N            qed: clusters a table, 1 to 16 (default 4)\n"
	"  -q, --quiet                say nothing on success\n"
	"  -h, --help                 this text\n";

static const struct option create_table[] = {
	{ "format", required_argument, NULL, 'f' },
	{ "backing", required_argument, NULL, 'b' },
	{ "backing-format", required_argument, NULL, 'F' },
	{ "options", required_argument, NULL, 'o' },
	{ "quiet", no_argument, NULL, 'q' },
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct options_word create_formats[] = {
	{ "qcow2", BPULL_FORMAT_QCOW2 },
	{ "qed", BPULL_FORMAT_QED },
	{ NULL, 0 },
};

static const struct options_word create_backing_formats[] = {
	{ "raw", BPULL_FORMAT_RAW },
	{ "qcow2", BPULL_FORMAT_QCOW2 },
	{ "qed", BPULL_FORMAT_QED },
	{ NULL, 0 },
};

struct create_command {
	struct new_image image;
	bool has_size, quiet, help;
};

static int create_take(struct create_command *command, int option, char *text)
{
	struct bpull_create_options *options = &command->image.options;
	int value = 0, code;
	switch (option) {
	case 'f':
		code = options_word("create", "--format", text, create_formats, &value);
		options->format = value;
		return code;
	case 'F':
		code = options_word("create", "--backing-format", text, create_backing_formats,
				    &value);
		options->backing_format = value;
		return code;
	case 'b':
		if (!*text)
			return say_usage("create", "-b: a backing file's name is missing");
		options->backing_name = text;
		return 0;
	case 'o': return new_image_take(&command->image, text);
	case 'q': command->quiet = true; return 0;
	default: command->help = true; return 0;
	}
}

/* What is wrong with the options taken together. */
static int create_validate(const struct create_command *command)
{
	const struct bpull_create_options *options = &command->image.options;
	if (!options->format)
		return say_usage("create", "the format is missing: give -f qcow2 or -f qed");
	if (options->backing_format && !options->backing_name)
		return say_usage("create", "-F has no meaning without -b");
	if (!command->has_size && !options->backing_name)
		return say_usage("create", "a size is missing");
	int code = new_image_check(&command->image);
	if (code)
		return code;
	if (options->backing_name && !options->backing_format) {
		/* Not a slip of the keyboard but a thing refused: guessing would be a risk. */
		say_error("the format of backing file '%s' is not given and is never guessed",
			  options->backing_name);
		say_hint("add -F raw, -F qcow2 or -F qed");
		return EXIT_CODE_REFUSED;
	}
	return 0;
}

static int create_parse(struct create_command *command, int argc, char **argv)
{
	int option, code;
	while ((option = options_next(argc, argv, ":b:f:F:ho:q", create_table)) != -1) {
		if (option == '?')
			return EXIT_CODE_USAGE;
		code = create_take(command, option, optarg);
		if (code || command->help)
			return code;
	}
	if (optind == argc)
		return say_usage("create", "the new image's name is missing");
	if (argc - optind > 2)
		return say_usage("create", "'%s' is one word too many", argv[optind + 2]);
	command->has_size = argc - optind == 2;
	if (command->has_size) {
		code = options_size("create", "size", argv[optind + 1], SIZE_BYTES,
				    &command->image.options.virtual_size);
		if (code)
			return code;
		command->image.options.empty = !command->image.options.virtual_size;
	}
	return create_validate(command);
}

/* No half image. Before it, the backing file may be on a server that is dead, and Ctrl-C must end
 * that wait. */
static void create_hold(void *user_data)
{
	(void)user_data;
	stop_hold(true);
}

int create_main(int argc, char **argv)
{
	struct create_command command = { .image = { .command = "create",
						     .options.size = sizeof(
							     struct bpull_create_options) } };
	struct bpull_error error = { 0 };

	int code = create_parse(&command, argc, argv);
	if (code)
		return code;
	if (command.help) {
		fputs(create_help, stdout);
		return EXIT_CODE_DONE;
	}
	command.image.options.creating = create_hold;
	int rc = bpull_create(argv[optind], &command.image.options, &error);
	stop_hold(false);
	if (rc) {
		code = say_failed(&error, rc);
		return rc == -EINVAL ? EXIT_CODE_USAGE : code; /* a value out of range */
	}
	if (!command.quiet)
		say_note("%s: created as %s", argv[optind],
			 bpull_format_name(command.image.options.format));
	return EXIT_CODE_DONE;
}
