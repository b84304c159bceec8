/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull hash: the XXH3-128 of what a guest reads, the same for the same
 * content in any format, and for a raw image the same as `xxh128sum`.
 *
 * A hash of chunks' hashes, which could pass over zeros, was rejected: no tool
 * else could compute it. Zeros cost what memory costs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include <xxhash.h>

#include "tools/cli/bases_option.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/images/content.h"
#include "tools/images/verbs.h"
#include "tools/words/exit_code.h"

#define MIN_CHUNK_LEN 4096u

static const char hash_help[] =
	"Usage: blockpull hash [OPTION...] IMAGE...\n"
	"\n"
	"Prints the XXH3-128 of each image's disk as a guest reads it, with its backing\n"
	"chain: the same for the same content in any format, and what xxh128sum prints\n"
	"of a raw image. Changes nothing.\n"
	"\n"
	"Options:\n"
	"  --chunk SIZE         of each SIZE bytes too (from 4K)\n"
	"  --json               a JSON line for each image\n"
	"  --force-share        take no locks: for images in use\n" OPTIONS_CHAIN_HELP
		OPTIONS_REMOTE_HELP "  --remote-timeout SECONDS\n"
	"                       how long a server may be away before it is an error\n"
	"                       (default 300)\n" OPTIONS_TLS_HELP
	"  -f, --format FMT     the images' format: raw, qcow2 or qed\n"
	"                       (default: detected)\n"
	"  --holes MODE         auto, read or trust: which holes of raw files are left out\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

enum {
	HASH_CHUNK = OPTIONS_OWN,
};

static const struct option hash_table[] = {
	{ "chunk", required_argument, NULL, HASH_CHUNK },
	OPTIONS_JSON,
	OPTIONS_CHAIN,
	OPTIONS_REMOTE,
	OPTIONS_REMOTE_READ,
	OPTIONS_HOLES,
	OPTIONS_SHARE,
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct offer hash_offers[] = {
	{ "chunk", OFFER_FREE, NULL },
	{ NULL, OFFER_FREE, NULL },
};

struct hash_line {
	struct command_line line;
	uint64_t chunk_len; /* 0: the whole only */
};

/* Of one image. */
struct hash {
	const struct hash_line *command;
	XXH3_state_t *whole, *chunk;
	uint64_t at, chunk_start;
	uint64_t n_printed;
};

#define HASH_TEXT_CAP 33

static const char *hash_text(XXH128_hash_t hash, char text[HASH_TEXT_CAP])
{
	snprintf(text, HASH_TEXT_CAP, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64,
		 (uint64_t)hash.low64);
	return text;
}

static void hash_end_chunk(struct hash *h)
{
	char text[HASH_TEXT_CAP];

	if (h->at == h->chunk_start)
		return;
	hash_text(XXH3_128bits_digest(h->chunk), text);
	if (h->command->line.json)
		say_data("%s{\"start\":%" PRIu64 ",\"length\":%" PRIu64 ",\"hash\":\"%s\"}",
			 h->n_printed++ ? "," : "", h->chunk_start, h->at - h->chunk_start, text);
	else
		say_data("%s  %" PRIu64 "+%" PRIu64 "\n", text, h->chunk_start,
			 h->at - h->chunk_start);
	h->chunk_start = h->at;
	XXH3_128bits_reset(h->chunk);
}

static void hash_add(struct hash *h, const uint8_t *bytes, uint64_t len)
{
	XXH3_128bits_update(h->whole, bytes, len);
	while (h->command->chunk_len && len) {
		uint64_t left = h->chunk_start + h->command->chunk_len - h->at;
		uint64_t n = len < left ? len : left;

		XXH3_128bits_update(h->chunk, bytes, n);
		h->at += n;
		bytes += n;
		len -= n;
		if (n == left)
			hash_end_chunk(h);
	}
}

static int hash_content(struct hash *h, struct content *content, struct bpull_error *error)
{
	struct content_piece piece;
	int rc;

	XXH3_128bits_reset(h->whole);
	XXH3_128bits_reset(h->chunk);
	while (!(rc = content_next(content, &piece, error)) && piece.length) {
		if (piece.bytes)
			hash_add(h, piece.bytes, piece.length);
		for (uint64_t n, left = piece.bytes ? 0 : piece.length; left; left -= n) {
			n = left < CONTENT_ZEROS ? left : CONTENT_ZEROS;
			hash_add(h, content_zeros, n);
		}
	}
	return rc;
}

static void hash_begin_json(const struct hash *h, const char *path, uint64_t size)
{
	if (!h->command->line.json)
		return;
	say_data("{\"filename\":");
	say_json(say_json_text(path), SAY_JSON_PART);
	say_data(",\"virtual-size\":%" PRIu64 ",\"algorithm\":\"XXH3-128\"", size);
	if (h->command->chunk_len)
		say_data(",\"chunk-size\":%" PRIu64 ",\"chunks\":[", h->command->chunk_len);
}

/* An object that was begun is ended, also after an error. */
static void hash_print(struct hash *h, const char *path, bool failed)
{
	char text[HASH_TEXT_CAP];

	if (!failed)
		hash_end_chunk(h);
	hash_text(XXH3_128bits_digest(h->whole), text);
	if (h->command->line.json)
		say_data("%s,\"hash\":%s%s%s}\n", h->command->chunk_len ? "]" : "",
			 failed ? "" : "\"", failed ? "null" : text, failed ? "" : "\"");
	else if (!failed)
		say_data("%s  %s\n", text, path);
}

/* Behind the last one's opening nothing is opened any more. 0 or an exit code. */
static int hash_image(const struct hash_line *command, struct bpull_engine *engine,
		      const char *path, bool is_last)
{
	struct bpull_error error = { 0 };
	struct hash h = { .command = command,
			  .whole = XXH3_createState(),
			  .chunk = XXH3_createState() };
	struct content *content = NULL;
	int code, rc = h.whole && h.chunk ? content_open(engine, path, &command->line.chain.disk,
							 &content, &error)
					  : -ENOMEM;

	if (!rc)
		rc = fd_map_judge(&command->line.chain.disk, &error);
	if (!rc && is_last)
		sandbox_enter(SANDBOX_NO_NAMES);
	if (!rc)
		say_disk_hint(content_hint(content));
	if (!rc) {
		hash_begin_json(&h, path, content_size(content));
		rc = hash_content(&h, content, &error);
		hash_print(&h, path, rc);
	}
	code = rc ? bases_option_failed(&command->line.chain.bases, &error, rc) : EXIT_CODE_DONE;
	content_close(content);
	XXH3_freeState(h.whole);
	XXH3_freeState(h.chunk);
	return code;
}

/* The first failure's exit code; the other images are hashed all the same. */
static int hash_run(struct command_line *line)
{
	const struct hash_line *command = (const struct hash_line *)line;
	struct bpull_engine *engine = NULL;
	struct bpull_error error = { 0 };
	int code = EXIT_CODE_DONE, rc = bpull_engine_open(NULL, &engine, &error);

	if (rc)
		return say_failed(&error, rc);
	for (int i = 0; i < line->n_words; i++) {
		int failed = hash_image(command, engine, line->words[i], i + 1 == line->n_words);

		code = code ? code : failed;
	}
	bpull_engine_close(engine);
	return code;
}

static int hash_take(struct command_line *line, int option, char *text)
{
	struct hash_line *command = (struct hash_line *)line;
	int code;

	if (option != HASH_CHUNK)
		return -1;
	code = options_size("hash", "--chunk", text, SIZE_BYTES, &command->chunk_len);
	if (!code && command->chunk_len < MIN_CHUNK_LEN)
		code = say_usage("hash", "--chunk: at least %u bytes", MIN_CHUNK_LEN);
	return code;
}

static int hash_check(struct command_line *line)
{
	int code = command_check_reader(line);

	if (code || line->n_words == 1)
		return code;
	if (line->chain.fds.n)
		return say_usage("hash", "--fd-map goes with one image");
	for (int i = 0; i < line->n_words; i++)
		options_chain_look(&line->chain, line->words[i], line->chain.disk.format);
	return options_chain_judge(&line->chain, "hash");
}

const struct command hash_command = {
	.name = "hash",
	.summary = "print a hash of what a guest reads",
	.help = hash_help,
	.letters = ":f:h",
	.options = hash_table,
	.offers = hash_offers,
	.line_size = sizeof(struct hash_line),
	.min_words = 1,
	.too_few = "an image's name is missing",
	.take = hash_take,
	.check = hash_check,
	.run = hash_run,
};
