/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockpull resize: a longer disk, of an image that no other program uses. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/fd_map.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/images/verbs.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

static const char resize_help[] =
	"Usage: blockpull resize [OPTION...] IMAGE [+]SIZE\n"
	"\n"
	"Makes the disk of an image SIZE bytes long (20G), or longer by SIZE (+20G). What is\n"
	"new reads zeros. A disk is never made shorter. A crash leaves the old size or the\n"
	"new one.\n"
	"\n"
	"Options:\n"
	"  -q, --quiet          don't say what was done\n" OPTIONS_CHAIN_HELP OPTIONS_REMOTE_HELP
		OPTIONS_TLS_HELP
	"  -f, --format FMT     the image's format: raw (must be said), qcow2 or qed\n"
	"                       (default: detected)\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

static const struct option resize_table[] = {
	OPTIONS_QUIET, OPTIONS_CHAIN, OPTIONS_REMOTE, OPTIONS_HELP, OPTIONS_END,
};

static const struct offer resize_words[] = {
	{ "IMAGE", OFFER_FILES, NULL },
	{ "SIZE", OFFER_FREE, NULL },
	{ NULL, OFFER_FREE, NULL },
};

struct resize_line {
	struct command_line line;
	bool is_more;  /* by so much, not to so much */
	uint64_t size; /* bytes */
};

/* The event's result, or the last one's that came: no other request was made. */
static int resize_wait(const char *path, struct bpull_engine *engine, struct bpull_error *error)
{
	struct bpull_event event = { 0 };

	while (event.type != BPULL_EVENT_IO) {
		int n = bpull_engine_wait(engine, &event, 1, -1);

		if (n < 0)
			return n;
	}
	if (event.error) {
		error->code = event.error;
		snprintf(error->message, sizeof(error->message),
			 "'%s': the size could not be changed: %s", path, strerror(-event.error));
	}
	return event.error;
}

static int resize_disk(const struct resize_line *resize, struct bpull_engine *engine,
		       struct bpull_disk *disk, struct bpull_error *error)
{
	uint64_t old = bpull_disk_size(disk), size = resize->size;
	int rc;

	if (resize->is_more && __builtin_add_overflow(old, size, &size))
		size = UINT64_MAX;
	rc = bpull_disk_resize(disk, size, NULL, error);
	if (!rc)
		rc = resize_wait(resize->line.words[0], engine, error);
	if (!rc && !resize->line.quiet)
		say_data("'%s': its disk has %" PRIu64 " bytes now, and had %" PRIu64 "\n",
			 resize->line.words[0], size, old);
	return rc;
}

static void resize_opened(void *user_data)
{
	(void)user_data;
	sandbox_enter(SANDBOX_NO_NAMES);
}

static int resize_run(struct command_line *line)
{
	struct bpull_disk_options *o = &line->chain.disk;
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	bool needs_format;
	int rc = bpull_engine_open(NULL, &engine, &error);

	o->flags |= BPULL_DISK_GUEST_IO;
	o->opened = resize_opened;
	if (!rc)
		rc = bpull_disk_open(engine, line->words[0], o, &disk, &error);
	needs_format = rc == -EINVAL && !error.remedy && !o->format;
	if (!rc)
		rc = fd_map_judge(o, &error);
	if (!rc && bpull_disk_warning(disk))
		say_note("warning: %s", bpull_disk_warning(disk));
	if (!rc)
		rc = resize_disk((struct resize_line *)line, engine, disk, &error);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	if (rc)
		say_failed(&error, rc);
	if (needs_format)
		say_hint("to resize a raw disk, say its format: --format=raw");
	return rc ? exit_code_of_error(rc) : EXIT_CODE_DONE;
}

static bool resize_is_size(const char *text)
{
	text += *text == '+';
	return *text >= '0' && *text <= '9';
}

static int resize_check(struct command_line *line)
{
	struct resize_line *resize = (struct resize_line *)line;
	const char *text = line->words[1];
	int code = options_chain_finish(&line->chain, "resize");

	if (code)
		return code;
	if (resize_is_size(line->words[0]) && !resize_is_size(text))
		return say_usage("resize", "'%s' is no size: the image comes first, then the size",
				 text);
	resize->is_more = *text == '+';
	return options_size("resize", "SIZE", text + resize->is_more, SIZE_BYTES, &resize->size);
}

const struct command resize_command = {
	.name = "resize",
	.summary = "make an image's disk longer",
	.help = resize_help,
	.letters = ":f:hq",
	.options = resize_table,
	.word_offers = resize_words,
	.line_size = sizeof(struct resize_line),
	.min_words = 2,
	.max_words = 2,
	.too_few = "an image's name and a size are needed",
	.too_many = "one image and one size are all it takes",
	.check = resize_check,
	.run = resize_run,
};
