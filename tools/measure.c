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
#include "tools/commands.h"
#include "tools/cli/compression.h"
#include "tools/words/exit_code.h"
#include "tools/cli/options.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"

const char measure_help[] =
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
	"  --force-share        take no locks: for images in use\n"
	"  --allow-backing DIR  backing files may lie below DIR too; repeatable; 'any';\n"
	"                       'none' (default: BLOCKPULL_ALLOW_BACKING)\n"
	"  --backing-format FMT format of backing files for which none is recorded;\n"
	"                       'auto': what they look like; FILE=FMT: of one of them,\n"
	"                       repeatable\n"
	"  -f, --format FMT     the image's format: raw, qcow2 or qed\n"
	"                       (default: detected)\n"
	"  --holes MODE         auto, read or trust: which holes of raw files are left out\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

enum {
	MEASURE_JSON = OPTIONS_OWN,
	MEASURE_ACCEPT_MIXED,
	MEASURE_BASE,
	MEASURE_COMPRESS,
};

static const struct option measure_table[] = {
	{ "json", no_argument, NULL, MEASURE_JSON },
	{ "accept-mixed", no_argument, NULL, MEASURE_ACCEPT_MIXED },
	{ "base", required_argument, NULL, MEASURE_BASE },
	{ "compress", optional_argument, NULL, MEASURE_COMPRESS },
	OPTIONS_CHAIN,
	OPTIONS_HOLES,
	OPTIONS_SHARE,
	OPTIONS_HELP,
	OPTIONS_END,
};

struct measure_command {
	struct options_chain chain;
	struct bpull_job_options job;
	bool json, help;
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

static int measure_run(const struct measure_command *command, const char *path)
{
	struct bpull_measure result = { .size = sizeof(result) };
	struct bpull_error error = { 0 };
	int rc = bpull_measure_job(path, &command->chain.disk, &command->job, &result, &error);

	if (rc)
		return say_failed(&error, rc);
	if (command->json)
		measure_print_json(path, &result);
	else
		measure_print_text(&result);
	return EXIT_CODE_DONE;
}

static int measure_parse(struct measure_command *command, int argc, char **argv)
{
	int option, code;
	while ((option = options_next(argc, argv, ":f:h", measure_table)) != -1) {
		switch (option) {
		case 'h': command->help = true; return 0;
		case '?': return EXIT_CODE_USAGE;
		case MEASURE_JSON: command->json = true; break;
		case MEASURE_ACCEPT_MIXED: command->job.flags |= BPULL_JOB_ACCEPT_MIXED; break;
		case MEASURE_BASE: command->job.base = optarg; break;
		case MEASURE_COMPRESS:
			code = compression_parse("measure", optarg, &command->job.compression,
						 &command->job.compression_level);
			if (code)
				return code;
			break;
		default:
			code = options_chain_take(&command->chain, "measure", option, optarg);
			if (code)
				return code;
		}
	}
	if (optind + 1 != argc)
		return say_usage("measure", optind == argc
						    ? "an image's name is missing"
						    : "measure looks at one image at a time");
	command->chain.disk.flags |= BPULL_DISK_READ_ONLY;
	command->chain.disk.opened = measure_opened;
	return options_chain_finish(&command->chain, "measure");
}

int measure_main(int argc, char **argv)
{
	struct measure_command command = { .job.size = sizeof(command.job) };
	int code = measure_parse(&command, argc, argv);
	if (!code && command.help)
		fputs(measure_help, stdout);
	else if (!code)
		code = measure_run(&command, argv[optind]);
	options_chain_free(&command.chain);
	return code;
}
