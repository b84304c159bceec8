/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull check: damage and leaks of one image, and their repair where one
 * was asked for. There is no question to answer with yes in between: the library
 * repairs nothing that it would have to guess, and says what it left.
 *
 * Findings are data and go to stdout. They arrive by callback while the check
 * runs: text is printed as they come, JSON collects them (the library bounds
 * their number).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/images/verbs.h"
#include "tools/words/exit_code.h"

#define CHECK_REPORTS_MAX 1000

static const char check_help[] =
	"Usage: blockpull check [OPTION...] IMAGE\n"
	"\n"
	"Checks the metadata of one image (not of its backing files) and changes\n"
	"nothing unless told to. Exit code 0: clean (now), 4: corrupt, 5: nothing but\n"
	"leaked clusters, which cost space and no data.\n"
	"\n"
	"Options:\n"
	"  -r, --repair=WHAT    mends the image in place: 'leaks' frees leaked clusters, 'all'\n"
	"                       rebuilds refcounts, mends flags and clears the marks dirty\n"
	"                       and corrupt, too; no data and no reference to it changes\n"
	"  --json               as JSON, with the field names of qemu-img check\n"
	"  --force-share        take no locks: for images in use; what is read may be\n"
	"                       half-written and found at fault for that\n"
	"  -f, --format FMT     the image's format: qcow2 or qed (default: detected)\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

static const struct option check_table[] = {
	OPTIONS_JSON,
	{ "repair", required_argument, NULL, 'r' },
	{ "format", required_argument, NULL, 'f' },
	OPTIONS_SHARE,
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct options_word check_repairs[] = {
	{ "leaks", BPULL_REPAIR_LEAKS },
	{ "all", BPULL_REPAIR_ALL },
	{ NULL, 0 },
};

/* In a raw image there is nothing to check. */
static const struct options_word check_formats[] = {
	{ "qcow2", BPULL_FORMAT_QCOW2 },
	{ "qed", BPULL_FORMAT_QED },
	{ NULL, 0 },
};

static const struct offer check_offers[] = {
	{ "repair", OFFER_WORDS, check_repairs },
	{ "format", OFFER_WORDS, check_formats },
	{ NULL, OFFER_FREE, NULL },
};

struct check_line {
	struct command_line line; /* of its chain only the format and the flags */
	enum bpull_repair repair;
};

static void check_report_text(void *opaque, int is_leak, const char *text)
{
	say_data("%s: %s\n", is_leak ? "leak" : "corrupt", text);
}

static void check_report_json(void *opaque, int is_leak, const char *text)
{
	struct json_object *finding = json_object_new_object();
	json_object_object_add(finding, "kind",
			       json_object_new_string(is_leak ? "leak" : "corruption"));
	json_object_object_add(finding, "text", say_json_text(text));
	json_object_array_add(opaque, finding);
}

static int check_exit_code(const struct bpull_check_result *result)
{
	if (result->n_corruptions)
		return EXIT_CODE_CORRUPT;
	if (result->n_check_errors)
		return EXIT_CODE_FAILED;
	return result->n_leaks ? EXIT_CODE_LEAKS : EXIT_CODE_DONE;
}

static void check_print_json(const char *path, const struct bpull_check_result *result,
			     struct json_object *findings)
{
	struct json_object *object = json_object_new_object();
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "image-end-offset", result->image_end_offset },
		{ "total-clusters", result->n_total_clusters },
		{ "allocated-clusters", result->n_allocated_clusters },
		{ "compressed-clusters", result->n_compressed_clusters },
		{ "zero-clusters", result->n_zero_clusters },
		{ "corruptions", result->n_corruptions },
		{ "leaks", result->n_leaks },
		{ "check-errors", result->n_check_errors },
		{ "leaks-fixed", result->n_leaks_fixed },
		{ "corruptions-fixed", result->n_corruptions_fixed },
	};

	json_object_object_add(object, "filename", say_json_text(path));
	json_object_object_add(object, "format",
			       json_object_new_string(bpull_format_name(result->format)));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_object_add(object, numbers[i].name,
				       json_object_new_uint64(numbers[i].value));
	if (result->unrepaired[0])
		json_object_object_add(object, "unrepaired", say_json_text(result->unrepaired));
	json_object_object_add(object, "mixed", json_object_new_boolean(result->mixed));
	json_object_object_add(object, "findings", json_object_get(findings));
	say_json(object, SAY_JSON_DOCUMENT);
}

static void check_print_text(const struct bpull_check_result *result)
{
	uint64_t n_left = result->n_corruptions + result->n_leaks;
	uint64_t n_fixed = result->n_corruptions_fixed + result->n_leaks_fixed;
	uint64_t n_found = n_left + n_fixed;
	const char *still = n_fixed ? " and are left" : "";

	if (n_found > CHECK_REPORTS_MAX)
		say_data("... (%" PRIu64 " findings in all)\n", n_found);
	if (n_fixed)
		say_data("Repaired: %" PRIu64 " errors, %" PRIu64 " leaked clusters.\n",
			 result->n_corruptions_fixed, result->n_leaks_fixed);
	if (result->marks_cleared)
		say_data("The image's mark (dirty, corrupt or in need of a check) is cleared.\n");
	if (result->unrepaired[0])
		say_data("Not repaired: %s\n", result->unrepaired);
	if (!n_left && !result->n_check_errors)
		say_data("No errors %s found on the image.\n",
			 n_fixed ? "are left of those" : "were");
	if (result->n_corruptions)
		say_data("%" PRIu64
			 " errors were found on the image%s: it must not be written to.\n",
			 result->n_corruptions, still);
	if (result->n_leaks)
		say_data("%" PRIu64
			 " leaked clusters were found on the image%s: they cost space, no "
			 "data.\n",
			 result->n_leaks, still);
	if (result->n_check_errors)
		say_data("%" PRIu64 " internal errors happened: the check is not complete.\n",
			 result->n_check_errors);
	say_data("%" PRIu64 "/%" PRIu64 " clusters allocated, %" PRIu64 " compressed, %" PRIu64
		 " zero\n",
		 result->n_allocated_clusters, result->n_total_clusters,
		 result->n_compressed_clusters, result->n_zero_clusters);
	say_data("Image end offset: %" PRIu64 "\n", result->image_end_offset);
	if (result->mixed)
		say_data("The image is marked: a backing file was changed while a pull copied it, "
			 "and "
			 "its content may be of either state.\n");
}

static void check_opened(void *opaque)
{
	sandbox_enter(SANDBOX_NO_NAMES);
}

static int check_run(struct command_line *line)
{
	const struct check_line *check = (const struct check_line *)line;
	const char *path = line->words[0];
	struct json_object *findings = line->json ? json_object_new_array() : NULL;
	struct bpull_check_options options = {
		.size = sizeof(options),
		.flags = line->chain.disk.flags,
		.format = line->chain.disk.format,
		.report = line->json ? check_report_json : check_report_text,
		.opaque = findings,
		.max_reports = CHECK_REPORTS_MAX,
		.repair = check->repair,
		.opened = check_opened,
	};
	struct bpull_check_result result = { .size = sizeof(result) };
	struct bpull_error error = { 0 };
	int code, rc = bpull_check(path, &options, &result, &error);

	if (rc) {
		/* Without the hint to run this very command. */
		code = rc == -EUCLEAN ? say_failed_bare(&error, rc) : say_failed(&error, rc);
	} else {
		if (line->json)
			check_print_json(path, &result, findings);
		else
			check_print_text(&result);
		code = check_exit_code(&result);
		if (result.n_check_errors) {
			say_error("'%s': the check did not come to its end", path);
			say_hint("%s", exit_code_hint(-EIO));
		}
	}
	json_object_put(findings);
	return code;
}

static int check_take(struct command_line *line, int option, char *text)
{
	struct check_line *check = (struct check_line *)line;

	if (option != 'r')
		return -1;
	for (const struct options_word *row = check_repairs; row->word; row++) {
		if (strcmp(text, row->word))
			continue;
		check->repair = row->value;
		return 0;
	}
	return say_usage("check", "--repair takes 'leaks' or 'all', not '%s'", text);
}

static int check_check(struct command_line *line)
{
	const struct check_line *check = (const struct check_line *)line;

	if (check->repair && line->chain.disk.flags & BPULL_DISK_FORCE_SHARE)
		return say_usage("check", "--repair needs locks, and --force-share takes none: "
					  "leave one of the two out");
	return 0;
}

const struct command check_command = {
	.name = "check",
	.summary = "look for damage and leaks in an image",
	.help = check_help,
	.letters = ":f:r:h",
	.options = check_table,
	.offers = check_offers,
	.line_size = sizeof(struct check_line),
	.min_words = 1,
	.max_words = 1,
	.too_few = "an image's name is missing",
	.too_many = "check looks at one image at a time",
	.take = check_take,
	.check = check_check,
	.run = check_run,
};
