/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull verify: whether two images show their guests the same. What the map says
 * of both to be zeros is not read; the first byte that differs is told.
 *
 * Comparing two hashes was rejected: they can't say where.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json_object.h>

#include "tools/cli/bases_option.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/images/content.h"
#include "tools/images/verbs.h"
#include "tools/words/exit_code.h"

static const char verify_help[] =
	"Usage: blockpull verify [OPTION...] A B\n"
	"\n"
	"Compares what guests read of two images, with their backing chains, in any\n"
	"formats, and prints the first difference. Where one is longer, the rest of it\n"
	"must be zeros. Changes nothing.\n"
	"\n"
	"Options:\n"
	"  --strict             different sizes are a difference\n"
	"  --json               the result as a JSON line\n"
	"  -q, --quiet          only the exit code, and errors\n"
	"  --force-share        take no locks: for images in use\n" OPTIONS_CHAIN_HELP
		OPTIONS_REMOTE_HELP "  --remote-timeout SECONDS\n"
	"                       how long a server may be away before it is an error\n"
	"                       (default 300)\n" OPTIONS_TLS_HELP OPTIONS_EXPECT_HELP
	"  -f, --format FMT     A's format: raw, qcow2 or qed (default: detected)\n"
	"  -F, --second-format FMT\n"
	"                       B's\n"
	"  --holes MODE         auto, read or trust: which holes of raw files are left out\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n"
	"\n"
	"Exit codes: 0 the same, 5 different, else see blockpull(1).\n";

enum {
	VERIFY_STRICT = OPTIONS_OWN,
};

static const struct option verify_table[] = {
	OPTIONS_JSON,          { "strict", no_argument, NULL, VERIFY_STRICT },
	OPTIONS_QUIET,         { "second-format", required_argument, NULL, 'F' },
	OPTIONS_CHAIN,         OPTIONS_HOLES,
	OPTIONS_REMOTE,        OPTIONS_REMOTE_READ,
	OPTIONS_REMOTE_EXPECT, OPTIONS_SHARE,
	OPTIONS_HELP,          OPTIONS_END,
};

static const struct offer verify_offers[] = {
	{ "second-format", OFFER_WORDS, options_formats },
	{ NULL, OFFER_FREE, NULL },
};

struct verify_line {
	struct command_line line; /* its chain is A's, and B's but for the format */
	enum bpull_format second_format;
	bool strict;
};

/* One of the two, and what is not compared yet of its latest piece. */
struct side {
	const char *path;
	struct content *content;
	uint64_t size;
	struct content_piece left;
};

static int verify_side_fill(struct side *side, struct bpull_error *error)
{
	return side->left.length ? 0 : content_next(side->content, &side->left, error);
}

static void verify_side_skip(struct side *side, uint64_t len)
{
	side->left.start += len;
	side->left.length -= len;
	if (side->left.bytes)
		side->left.bytes += len;
}

static uint64_t verify_first_difference(const uint8_t *a, const uint8_t *b, uint64_t len)
{
	uint64_t at = 0;

	if (!memcmp(a, b, len))
		return len;
	while (a[at] == b[at])
		at++;
	return at;
}

/* At most CONTENT_ZEROS bytes at once, but where both are zeros. */
static uint64_t verify_common_len(const struct side *a, const struct side *b)
{
	uint64_t len = a->left.length < b->left.length ? a->left.length : b->left.length;

	if ((a->left.bytes || b->left.bytes) && len > CONTENT_ZEROS)
		return CONTENT_ZEROS;
	return len;
}

static const uint8_t *verify_bytes_of(const struct side *side)
{
	return side->left.bytes ? side->left.bytes : content_zeros;
}

/* Sets *at to the first byte that differs, UINT64_MAX for none. 0 or -errno. */
static int verify_compare(struct side *a, struct side *b, uint64_t *at, struct bpull_error *error)
{
	uint64_t end = a->size > b->size ? a->size : b->size;

	for (uint64_t done = 0, len, same; done < end; done += len) {
		int rc = done < a->size ? verify_side_fill(a, error) : 0;

		if (!rc && done < b->size)
			rc = verify_side_fill(b, error);
		if (rc)
			return rc;
		/* Behind its end a disk is as if it were zeros. */
		if (done >= a->size)
			a->left = (struct content_piece){ done, end - done, NULL };
		if (done >= b->size)
			b->left = (struct content_piece){ done, end - done, NULL };
		same = len = verify_common_len(a, b);
		if (a->left.bytes || b->left.bytes)
			same = verify_first_difference(verify_bytes_of(a), verify_bytes_of(b), len);
		if (same < len) {
			*at = done + same;
			return 0;
		}
		verify_side_skip(a, len);
		verify_side_skip(b, len);
	}
	*at = UINT64_MAX;
	return 0;
}

static void verify_print_json(const struct side *a, const struct side *b, uint64_t at, bool same)
{
	struct json_object *line = json_object_new_object();

	json_object_object_add(line, "first", say_json_text(a->path));
	json_object_object_add(line, "second", say_json_text(b->path));
	json_object_object_add(line, "first-size", json_object_new_uint64(a->size));
	json_object_object_add(line, "second-size", json_object_new_uint64(b->size));
	json_object_object_add(line, "identical", json_object_new_boolean(same));
	json_object_object_add(line, "first-difference",
			       at == UINT64_MAX ? NULL : json_object_new_uint64(at));
	say_json(line, SAY_JSON_LINE);
}

static void verify_print_text(const struct side *a, const struct side *b, uint64_t at, bool same)
{
	if (at != UINT64_MAX)
		say_data("The images differ, first at guest offset %" PRIu64 " (%#" PRIx64 ").\n",
			 at, at);
	else if (a->size != b->size)
		say_data("The images are %s: %" PRIu64 " and %" PRIu64
			 " bytes long, what the longer one has more is zeros.\n",
			 same ? "the same but for their sizes" : "of different sizes", a->size,
			 b->size);
	else
		say_data("The images show the same.\n");
}

static int verify_sides(const struct verify_line *command, struct side *a, struct side *b,
			struct bpull_error *error)
{
	uint64_t at = UINT64_MAX;
	bool same;
	int rc;

	a->size = content_size(a->content);
	b->size = content_size(b->content);
	rc = verify_compare(a, b, &at, error);
	if (rc)
		return bases_option_failed(&command->line.chain.bases, error, rc);
	same = at == UINT64_MAX && (a->size == b->size || !command->strict);
	if (command->line.json)
		verify_print_json(a, b, at, same);
	else if (!command->line.quiet)
		verify_print_text(a, b, at, same);
	return same ? EXIT_CODE_DONE : EXIT_CODE_DIFFERENT;
}

static void verify_say_hint_of(const struct content *content)
{
	say_disk_hint(content_hint(content));
}

static int verify_run(struct command_line *line)
{
	const struct verify_line *command = (const struct verify_line *)line;
	struct bpull_disk_options other = line->chain.disk;
	struct side a = { .path = line->words[0] }, b = { .path = line->words[1] };
	struct bpull_engine *engine = NULL;
	struct bpull_error error = { 0 };
	int code, rc = bpull_engine_open(NULL, &engine, &error);

	other.format = command->second_format;
	if (!rc)
		rc = content_open(engine, a.path, &line->chain.disk, &a.content, &error);
	if (!rc)
		rc = content_open(engine, b.path, &other, &b.content, &error);
	if (!rc)
		rc = fd_map_judge(&line->chain.disk, &error);
	if (!rc)
		sandbox_enter(SANDBOX_NO_NAMES);
	if (!rc && !line->quiet) {
		verify_say_hint_of(a.content);
		verify_say_hint_of(b.content);
	}
	code = rc ? say_failed(&error, rc) : verify_sides(command, &a, &b, &error);
	content_close(a.content);
	content_close(b.content);
	bpull_engine_close(engine);
	return code;
}

static int verify_take(struct command_line *line, int option, char *text)
{
	struct verify_line *command = (struct verify_line *)line;
	int value = 0, code;

	switch (option) {
	case VERIFY_STRICT: command->strict = true; return 0;
	case 'F':
		code = options_word("verify", "--second-format", text, options_formats, &value);
		command->second_format = value;
		return code;
	default: return -1;
	}
}

static int verify_check(struct command_line *line)
{
	const struct verify_line *command = (const struct verify_line *)line;
	int code = command_check_reader(line);

	if (code)
		return code;
	options_chain_look(&line->chain, line->words[0], line->chain.disk.format);
	options_chain_look(&line->chain, line->words[1], command->second_format);
	return options_chain_judge(&line->chain, "verify");
}

const struct command verify_command = {
	.name = "verify",
	.summary = "compare what guests read of two images",
	.help = verify_help,
	.letters = ":f:F:hq",
	.options = verify_table,
	.offers = verify_offers,
	.line_size = sizeof(struct verify_line),
	.min_words = 2,
	.max_words = 2,
	.too_few = "two images are needed, no more",
	.too_many = "two images are needed, no more",
	.take = verify_take,
	.check = verify_check,
	.run = verify_run,
};
