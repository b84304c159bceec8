/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockpull trace: what guests touched first, shown, and made one of several. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/commands.h"
#include "tools/trace/file.h"
#include "tools/trace/order.h"
#include "tools/trace/picture.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define TRACE_MAX_FILES 256

static const char trace_help[] =
	"Usage: blockpull trace [OPTION...] merge TRACE...\n"
	"       blockpull trace [OPTION...] show TRACE\n"
	"\n"
	"Works on traces: what a guest touched first, as blockpull serve --trace and the\n"
	"nbdkit plugin's trace=FILE record it, and blockpull pull --first uses it.\n"
	"\n"
	"Verbs:\n"
	"  merge        make one trace of several: each byte once, where the first of them\n"
	"               touched it\n"
	"  show         a table: time, offset, length\n"
	"\n"
	"Options:\n"
	"  -o, --output FILE    merge: write FILE in place of what is there, durably\n"
	"                       (default: standard output)\n"
	"  --svg                show: a picture instead of the table\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

enum {
	TRACE_SVG = OPTIONS_OWN,
};

static const struct option trace_table[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "svg", no_argument, NULL, TRACE_SVG },
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct options_word trace_verbs[] = {
	{ "merge", 0 },
	{ "show", 1 },
	{ NULL, 0 },
};

static const struct offer trace_offers[] = {
	{ "output", OFFER_FILES, NULL },
	{ NULL, OFFER_FREE, NULL },
};

static const struct offer trace_words[] = {
	{ "VERB", OFFER_WORDS, trace_verbs }, { "TRACE", OFFER_FILES, NULL },
	{ "TRACE", OFFER_FILES, NULL },       { "TRACE", OFFER_FILES, NULL },
	{ "TRACE", OFFER_FILES, NULL },       { NULL, OFFER_FREE, NULL },
};

struct trace_line {
	struct command_line line;
	const char *output; /* or NULL */
	bool svg;
	int verb; /* of trace_verbs */
};

static void trace_say_table(const struct trace *trace)
{
	char size[SIZE_TEXT_CAP];
	uint64_t last_us = 0;

	say_data("%14s  %20s  %20s\n", "seconds", "offset", "length");
	for (size_t i = 0; i < trace->n; i++) {
		const struct trace_range *range = &trace->ranges[i];

		last_us = range->us > last_us ? range->us : last_us;
		say_data("%14.6f  %20" PRIu64 "  %20" PRIu64 "\n", (double)range->us / 1e6,
			 range->off, range->len);
	}
	say_data("%zu %s, %s, in %.3f s\n", trace->n, trace->n == 1 ? "range" : "ranges",
		 size_text(trace_len(trace), size), (double)last_us / 1e6);
}

static int trace_write(const struct trace *trace, struct trace_file *file)
{
	size_t len;
	char *text;
	int rc;

	if (file->dir_fd >= 0) {
		rc = trace_file_save(file, trace);
		if (rc)
			say_error("'%s' could not be written: %s", file->path, strerror(-rc));
		return rc ? exit_code_of_error(rc) : EXIT_CODE_DONE;
	}
	text = trace_print(trace, &len);
	if (!text) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
		say_data("%.*s\n", (int)(end - line), line);
	free(text);
	return EXIT_CODE_DONE;
}

static int trace_do(const struct trace_line *t, const struct trace *traces, size_t n,
		    struct trace_file *file)
{
	struct trace merged;
	int code;

	if (trace_verbs[t->verb].value) {
		if (t->svg)
			picture_draw(traces, say_data);
		else
			trace_say_table(traces);
		return EXIT_CODE_DONE;
	}
	if (trace_merge(traces, n, &merged)) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	if (merged.is_full)
		say_note("warning: the traces have more ranges than one can hold: the rest is left "
			 "out");
	code = trace_write(&merged, file);
	trace_free(&merged);
	return code;
}

/* All files are read, and the sandbox is closed, before anything is made of them. */
static int trace_run(struct command_line *line)
{
	const struct trace_line *t = (struct trace_line *)line;
	struct trace traces[TRACE_MAX_FILES] = { 0 };
	struct trace_file file = { .dir_fd = -1 };
	size_t n = (size_t)line->n_words - 1;
	char why[TRACE_WHY_CAP];
	int rc = 0, code;

	for (size_t i = 0; !rc && i < n; i++)
		rc = trace_load(line->words[i + 1], &traces[i], why);
	if (!rc && t->output)
		rc = trace_file_open(&file, t->output, why);
	if (rc) {
		say_error("%s", why);
		code = rc == -EINVAL ? EXIT_CODE_USAGE : exit_code_of_error(rc);
	} else {
		sandbox_enter(t->output ? SANDBOX_REPLACE : SANDBOX_NO_NAMES);
		code = trace_do(t, traces, n, &file);
	}
	trace_file_close(&file);
	for (size_t i = 0; i < n; i++)
		trace_free(&traces[i]);
	return code;
}

static int trace_take(struct command_line *line, int option, char *text)
{
	struct trace_line *t = (struct trace_line *)line;

	switch (option) {
	case 'o': t->output = text; return 0;
	case TRACE_SVG: t->svg = true; return 0;
	default: return -1;
	}
}

static int trace_check(struct command_line *line)
{
	struct trace_line *t = (struct trace_line *)line;

	while (trace_verbs[t->verb].word && strcmp(line->words[0], trace_verbs[t->verb].word) != 0)
		t->verb++;
	if (!trace_verbs[t->verb].word)
		return say_usage("trace", "unknown verb '%s': there are merge and show",
				 line->words[0]);
	if (line->n_words < 2)
		return say_usage("trace", "a trace's name is missing");
	if (trace_verbs[t->verb].value && line->n_words > 2)
		return say_usage("trace", "show has one trace");
	if (t->output && !*t->output)
		return say_usage("trace", "--output: a file's name is missing");
	if (trace_verbs[t->verb].value && t->output)
		return say_usage("trace", "--output goes with merge");
	if (!trace_verbs[t->verb].value && t->svg)
		return say_usage("trace", "--svg goes with show");
	if (line->n_words > TRACE_MAX_FILES)
		return say_usage("trace", "more than %d traces", TRACE_MAX_FILES - 1);
	return 0;
}

const struct command trace_command = {
	.name = "trace",
	.summary = "show and merge what guests touched first",
	.help = trace_help,
	.letters = ":ho:",
	.options = trace_table,
	.offers = trace_offers,
	.word_offers = trace_words,
	.line_size = sizeof(struct trace_line),
	.min_words = 1,
	.too_few = "merge or show is missing",
	.take = trace_take,
	.check = trace_check,
	.run = trace_run,
};
