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
#include "tools/cli/bases_option.h"
#include "tools/cli/new_image.h"
#include "tools/cli/say.h"
#include "tools/cli/stop.h"
#include "tools/images/verbs.h"
#include "tools/nbd/names/name.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

static const char create_help[] =
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
	"  -o, --options NAME=VALUE,...\n"
	"                             repeatable:\n"
	"     cluster_size=SIZE       bytes, a power of two (default 64K)\n"
	"     compat=0.10|1.1         qcow2: version 2 or 3 (default 1.1)\n"
	"     refcount_bits=N         qcow2: 1, 2, 4 ... 64 (default 16)\n"
	"     lazy_refcounts=on|off   qcow2 (default off)\n"
	"     compression_type=TYPE   qcow2: zlib or zstd (default zlib)\n"
	"     table_size=N            qed: clusters a table, 2 to 16 (default 4)\n"
	"  --allow-remote PLACE       BASE may be behind a network, there: nbd:HOST[:PORT],\n"
	"                             nbd+unix:DIR, nbds:... (TLS); repeatable; see\n"
	"                             blockpull(1)\n"
	"  --map-backing NAME=URI     look at URI, or a FILE, where BASE is NAME; repeatable\n"
	"  --open-timeout SECONDS     how long a server may take to be opened (default 30)\n"
	"  --tls-certificates DIR     for nbds: the authority's and our own certificates and\n"
	"                             key\n"
	"  --tls-psk-file FILE        for nbds: keys shared with the server instead\n"
	"  --tls-user NAME            the user of that file whose key is used\n"
	"  -q, --quiet                say nothing on success\n"
	"  --no-sandbox               accepted, as by all commands; this one has no filter\n"
	"  -h, --help                 this text\n";

static const struct option create_table[] = {
	{ "format", required_argument, NULL, 'f' },
	{ "backing", required_argument, NULL, 'b' },
	{ "backing-format", required_argument, NULL, 'F' },
	{ "options", required_argument, NULL, 'o' },
	OPTIONS_REMOTE,
	OPTIONS_QUIET,
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct offer create_offers[] = {
	{ "format", OFFER_WORDS, options_overlays },
	{ "backing", OFFER_FILES, NULL },
	{ "backing-format", OFFER_WORDS, options_formats },
	{ "options", OFFER_PAIRS, new_image_keys },
	{ NULL, OFFER_FREE, NULL },
};

struct create_line {
	struct command_line line;
	struct new_image image;
};

static int create_take(struct command_line *line, int option, char *text)
{
	struct create_line *create = (struct create_line *)line;
	struct bpull_create_options *options = &create->image.options;
	int value = 0, code;

	switch (option) {
	case 'f':
		code = options_word("create", "--format", text, options_overlays, &value);
		options->format = value;
		return code;
	case 'F':
		code = options_word("create", "--backing-format", text, options_formats, &value);
		options->backing_format = value;
		return code;
	case 'b':
		if (!*text)
			return say_usage("create", "-b: a backing file's name is missing");
		options->backing_name = text;
		return 0;
	case 'o': return new_image_take(&create->image, "create", text);
	default: return -1;
	}
}

/* What is wrong with the options taken together. */
static int create_check_options(const struct create_line *create)
{
	const struct bpull_create_options *options = &create->image.options;
	int code;

	if (!options->format)
		return say_usage("create", "the format is missing: give -f qcow2 or -f qed");
	if (options->backing_format && !options->backing_name)
		return say_usage("create", "-F has no meaning without -b");
	if (bases_are_wanted(&create->line.chain.bases) && !options->backing_name)
		return say_usage("create", "--allow-remote and --map-backing have no meaning "
					   "without -b");
	if (create->line.n_words == 1 && !options->backing_name)
		return say_usage("create", "a size is missing: give one, or a backing file (-b), "
					   "whose size it then is");
	code = new_image_check(&create->image, "create");
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

static int create_check(struct command_line *line)
{
	struct create_line *create = (struct create_line *)line;
	struct bpull_create_options *options = &create->image.options;
	int code;

	options->size = sizeof(*options);
	if (line->n_words > 2)
		return say_usage("create", "'%s' is one word too many", line->words[2]);
	if (line->n_words == 2) {
		code = options_size("create", "size", line->words[1], SIZE_BYTES,
				    &options->virtual_size);
		if (code)
			return code;
		options->empty = !options->virtual_size;
	}
	code = create_check_options(create);
	if (!code)
		code = bases_option_open(&line->chain.bases, "create", false);
	if (!code && options->backing_name)
		bases_apply_to_new(&line->chain.bases, options);
	return code;
}

/* Warns of what would show late otherwise: with other programs, or when the image is used. */
static void create_warn(struct create_line *create)
{
	const char *name = create->image.options.backing_name;
	char text[NBD_NAME_TEXT_CAP];

	bases_option_seal(&create->line.chain.bases);
	if (name && nbd_name_warn_of_qemu(name, text))
		say_note("warning: %s", text);
}

/* Signals are held from here on, so that no half image is left. Not earlier: the backing file may
 * be on a server that is dead, and Ctrl-C must end that wait. */
static void create_hold(void *user_data)
{
	bool *began = user_data;

	*began = true;
	stop_hold(true);
}

static int create_run(struct command_line *line)
{
	struct create_line *create = (struct create_line *)line;
	struct bpull_error error = { 0 };
	bool began = false;
	int code, rc;

	create->image.options.creating = create_hold;
	create->image.options.user_data = &began;
	rc = bpull_create(line->words[0], &create->image.options, &error);
	stop_hold(false);
	if (rc) {
		code = say_failed(&error, rc);
		/* A value out of range; before that it is the backing file that is wrong. */
		return rc == -EINVAL && began ? EXIT_CODE_USAGE : code;
	}
	create_warn(create);
	if (!line->quiet)
		say_note("%s: created as %s", line->words[0],
			 bpull_format_name(create->image.options.format));
	return EXIT_CODE_DONE;
}

const struct command create_command = {
	.name = "create",
	.summary = "make a new qcow2 or QED image",
	.help = create_help,
	.letters = ":b:f:F:ho:q",
	.options = create_table,
	.offers = create_offers,
	.line_size = sizeof(struct create_line),
	.min_words = 1,
	.too_few = "the new image's name is missing",
	.take = create_take,
	.check = create_check,
	.run = create_run,
};
