/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull measure: what a pull will need, before one begins. The numbers are
 * the library's, the same a pull into a block device is refused by; a sum over
 * `blockpull map` was rejected, as it knows nothing of tables and refcounts.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/cli/compression.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/images/verbs.h"
#include "tools/words/exit_code.h"

static const char measure_help[] =
	"Usage: blockpull measure [OPTION...] IMAGE\n"
	"\n"
	"Says how much a pull of the whole chain into IMAGE copies, and how much space it\n"
	"needs, at most: data that turns out to be zeros takes none, and only reading it\n"
	"would tell. Changes nothing.\n"
	"\n"
	"Options:\n"
	"  --accept-mixed       for a pull with this option: the image may be marked\n"
	"  --base FILE          for a pull with this --base\n"
	"  --compress[=TYPE]    for a pull with this --compress\n"
	"  --json               as JSON\n"
	"  --force-share        take no locks: for images in use\n" OPTIONS_CHAIN_HELP
		OPTIONS_REMOTE_HELP OPTIONS_TLS_HELP
	"  -f, --format FMT     the image's format: raw, qcow2 or qed\n"
	"                       (default: detected)\n"
	"  --holes MODE         auto, read or trust: which holes of raw files are left out\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

enum {
	MEASURE_ACCEPT_MIXED = OPTIONS_OWN,
	MEASURE_BASE,
	MEASURE_COMPRESS,
};

static const struct option measure_table[] = {
	OPTIONS_JSON,
	{ "accept-mixed", no_argument, NULL, MEASURE_ACCEPT_MIXED },
	{ "base", required_argument, NULL, MEASURE_BASE },
	{ "compress", optional_argument, NULL, MEASURE_COMPRESS },
	OPTIONS_CHAIN,
	OPTIONS_REMOTE,
	OPTIONS_HOLES,
	OPTIONS_SHARE,
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct offer measure_offers[] = {
	{ "base", OFFER_FILES, NULL },
	{ "compress", OFFER_WORDS, compression_words },
	{ NULL, OFFER_FREE, NULL },
};

struct measure_line {
	struct command_line line;
	struct bpull_job_options job;
};

static void measure_print_json(const char *path, const struct bpull_measure *m)
{
	struct json_object *object = json_object_new_object();
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "virtual-size", m->guest_size }, { "file-size", m->file_size },
		{ "needed-size", m->needed_size }, { "growth", m->growth },
		{ "copy-bytes", m->copy_bytes },   { "missing", m->missing },
	};
	const struct {
		const char *name;
		uint64_t value;
	} data_numbers[] = {
		{ "data-file-size", m->data_file_size },
		{ "data-needed-size", m->data_needed_size },
		{ "data-growth", m->data_growth },
		{ "data-missing", m->data_missing },
	};

	json_object_object_add(object, "filename", say_json_text(path));
	json_object_object_add(object, "device", json_object_new_boolean(m->is_device));
	json_object_object_add(object, "fits",
			       json_object_new_boolean(!m->missing && !m->data_missing));
	json_object_object_add(object, "has-backing", json_object_new_boolean(m->has_backing));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_object_add(object, numbers[i].name,
				       json_object_new_uint64(numbers[i].value));
	if (m->has_data_file)
		json_object_object_add(object, "data-device",
				       json_object_new_boolean(m->data_is_device));
	for (size_t i = 0; m->has_data_file && i < sizeof(data_numbers) / sizeof(data_numbers[0]);
	     i++)
		json_object_object_add(object, data_numbers[i].name,
				       json_object_new_uint64(data_numbers[i].value));
	say_json(object, SAY_JSON_DOCUMENT);
}

/* One file of the image: what is "file" or "device" is so for its data file, too. */
static void measure_print_file(const char *what, bool is_device, uint64_t now, uint64_t needed,
			       uint64_t growth, uint64_t missing)
{
	if (!is_device) {
		say_data("%sfile size: %" PRIu64 " bytes, at most %" PRIu64
			 " after a pull (+%" PRIu64 ")\n",
			 what, now, needed, growth);
		return;
	}
	say_data("%sdevice size: %" PRIu64 " bytes, of which a pull needs at most %" PRIu64 "\n",
		 what, now, needed);
	if (missing)
		say_data("The %sdevice is too small: %" PRIu64 " bytes are missing.\n", what,
			 missing);
	else
		say_data("The %sdevice is large enough.\n", what);
}

static void measure_print_text(const struct bpull_measure *m)
{
	if (!m->has_backing)
		say_data("The image has no backing file: there is nothing to pull.\n");
	say_data("to copy: at most %" PRIu64 " bytes of %" PRIu64 "\n", m->copy_bytes,
		 m->guest_size);
	measure_print_file("", m->is_device, m->file_size, m->needed_size, m->growth, m->missing);
	if (m->has_data_file)
		measure_print_file("data ", m->data_is_device, m->data_file_size,
				   m->data_needed_size, m->data_growth, m->data_missing);
}

static void measure_opened(void *user_data)
{
	sandbox_enter(SANDBOX_NO_NAMES);
}

static int measure_run(struct command_line *line)
{
	const struct measure_line *measure = (const struct measure_line *)line;
	const char *path = line->words[0];
	struct bpull_measure result = { .size = sizeof(result) };
	struct bpull_error error = { 0 };
	int rc = bpull_measure_job(path, &line->chain.disk, &measure->job, &result, &error);

	if (!rc)
		rc = fd_map_judge(&line->chain.disk, &error);

	if (rc)
		return say_failed(&error, rc);
	if (line->json)
		measure_print_json(path, &result);
	else
		measure_print_text(&result);
	return EXIT_CODE_DONE;
}

static int measure_take(struct command_line *line, int option, char *text)
{
	struct measure_line *measure = (struct measure_line *)line;

	switch (option) {
	case MEASURE_ACCEPT_MIXED: measure->job.flags |= BPULL_JOB_ACCEPT_MIXED; return 0;
	case MEASURE_BASE: measure->job.base = text; return 0;
	case MEASURE_COMPRESS:
		return compression_parse("measure", text, &measure->job.compression,
					 &measure->job.compression_level);
	default: return -1;
	}
}

static int measure_check(struct command_line *line)
{
	struct measure_line *measure = (struct measure_line *)line;

	measure->job.size = sizeof(measure->job);
	line->chain.disk.opened = measure_opened;
	return command_check_reader(line);
}

const struct command measure_command = {
	.name = "measure",
	.summary = "say how much space a pull needs",
	.help = measure_help,
	.letters = ":f:h",
	.options = measure_table,
	.offers = measure_offers,
	.line_size = sizeof(struct measure_line),
	.min_words = 1,
	.max_words = 1,
	.too_few = "an image's name is missing",
	.too_many = "measure looks at one image at a time",
	.take = measure_take,
	.check = measure_check,
	.run = measure_run,
};
