/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The text is made of one table of metrics: the format wants all lines of a
 * metric in one group, so the outer loop is over metrics, the inner one over
 * images. All have the file's name in a label: a collector reads the files of
 * several commands as one, where two series with equal labels are an error.
 * Names of states and classes are those of --json. A library for the format was
 * rejected: it is names, labels and numbers.
 */
#include "tools/pull/metrics_text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/words/exit_code.h"
#include "tools/words/job_json.h"
#include "tools/words/text.h"

/* A line's value; false: the image has none. `detail`: the value of the second label, if any. */
typedef bool metrics_value(const struct metrics_row *row, const char **detail, double *value);

/* ---- Values of an image ---------------------------------------------------- */

static bool metrics_text_has_begun(const struct metrics_row *row)
{
	return row->image->state != PULL_UNTRIED;
}

static const char *metrics_text_state_word(const struct metrics_row *row)
{
	switch (row->image->state) {
	case PULL_UNTRIED: return "untried";
	case PULL_RUNNING: return job_state_word(row->info.state);
	case PULL_ENDED: break;
	}
	return row->image->status;
}

static bool metrics_text_state(const struct metrics_row *row, const char **detail, double *value)
{
	*detail = metrics_text_state_word(row);
	*value = 1;
	return true;
}

static bool metrics_text_exit_code(const struct metrics_row *row, const char **detail,
				   double *value)
{
	*detail = exit_code_class(row->image->code);
	*value = row->image->code;
	return row->image->state == PULL_ENDED;
}

static bool metrics_text_copied(const struct metrics_row *row, const char **detail, double *value)
{
	(void)detail;
	*value = row->info.copied_bytes;
	return metrics_text_has_begun(row);
}

static bool metrics_text_cloned(const struct metrics_row *row, const char **detail, double *value)
{
	(void)detail;
	*value = row->info.cloned_bytes;
	return metrics_text_has_begun(row);
}

static bool metrics_text_zero(const struct metrics_row *row, const char **detail, double *value)
{
	(void)detail;
	*value = row->info.zero_bytes;
	return metrics_text_has_begun(row);
}

static bool metrics_text_past_cache(const struct metrics_row *row, const char **detail,
				    double *value)
{
	(void)detail;
	*value = row->info.past_cache_bytes;
	return metrics_text_has_begun(row);
}

static bool metrics_text_position(const struct metrics_row *row, const char **detail, double *value)
{
	(void)detail;
	*value = row->info.cur;
	return row->info.type;
}

static bool metrics_text_end(const struct metrics_row *row, const char **detail, double *value)
{
	(void)detail;
	*value = row->info.end;
	return row->info.type;
}

static bool metrics_text_rate(const struct metrics_row *row, const char **detail, double *value)
{
	(void)detail;
	*value = row->rate;
	return row->image->state == PULL_RUNNING && row->rate >= 0;
}

static bool metrics_text_seconds(const struct metrics_row *row, const char **detail, double *value)
{
	(void)detail;
	*value = row->info.elapsed_ns / 1e9;
	return metrics_text_has_begun(row);
}

static const struct metrics_kind {
	const char *name, *type, *help;
	const char *detail; /* the second label's name, or NULL */
	metrics_value *value;
} metrics_text_kinds[] = {
	{ "image_state", "gauge", "The state of the image's pull, in a label; always 1.", "state",
	  metrics_text_state },
	{ "image_exit_code", "gauge", "What the image's pull ended with; 0: done.", "class",
	  metrics_text_exit_code },
	{ "image_copied_bytes_total", "counter", "Bytes written into the image.", NULL,
	  metrics_text_copied },
	{ "image_cloned_bytes_total", "counter",
	  "Bytes that the file system shares with the backing file.", NULL, metrics_text_cloned },
	{ "image_zero_bytes_total", "counter", "Bytes read, found to be zeros and left out.", NULL,
	  metrics_text_zero },
	{ "image_past_cache_bytes_total", "counter",
	  "Bytes read from the device past the page cache.", NULL, metrics_text_past_cache },
	{ "image_position_bytes", "gauge", "How much of the guest's disk has been dealt with.",
	  NULL, metrics_text_position },
	{ "image_size_bytes", "gauge", "How much there is to deal with.", NULL, metrics_text_end },
	{ "image_rate_bytes_per_second", "gauge", "Bytes copied or cloned a second just now.", NULL,
	  metrics_text_rate },
	{ "image_seconds", "gauge", "Seconds since the image's pull began, or that it took.", NULL,
	  metrics_text_seconds },
};

/* ---- Text ------------------------------------------------------------------ */

char *metrics_text_escape(const char *name)
{
	char *utf8 = text_utf8(name);
	char *out = utf8 ? malloc(strlen(utf8) * 2 + 1) : NULL;
	char *at = out;

	for (const char *from = utf8; out && *from; from++) {
		if (strchr("\\\"\n", *from))
			*at++ = '\\';
		*at++ = *from == '\n' ? 'n' : *from;
	}
	if (out)
		*at = 0;
	free(utf8);
	return out;
}

static void metrics_text_put_number(FILE *out, double value)
{
	bool is_whole = value < 9e15 && value == (double)(int64_t)value;
	fprintf(out, is_whole ? " %.0f\n" : " %.3f\n", value);
}

static void metrics_text_put_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP blockpull_%s %s\n# TYPE blockpull_%s %s\n", name, help, name, type);
}

static void metrics_text_put_one(FILE *out, const char *file, const char *name, const char *help,
				 double value)
{
	metrics_text_put_head(out, name, "gauge", help);
	fprintf(out, "blockpull_%s{file=\"%s\"}", name, file);
	metrics_text_put_number(out, value);
}

static void metrics_text_put_kind(FILE *out, const char *file, const struct metrics_row *rows,
				  unsigned n_rows, const struct metrics_kind *kind)
{
	metrics_text_put_head(out, kind->name, kind->type, kind->help);
	for (unsigned i = 0; i < n_rows; i++) {
		const struct metrics_row *row = &rows[i];
		const char *detail = "";
		double value;
		if (!row->label || !kind->value(row, &detail, &value))
			continue;
		fprintf(out, "blockpull_%s{file=\"%s\",image=\"%s\"", kind->name, file, row->label);
		if (kind->detail)
			fprintf(out, ",%s=\"%s\"", kind->detail, detail);
		fputc('}', out);
		metrics_text_put_number(out, value);
	}
}

/* How many images are where: each of the four lines is always there. */
static void metrics_text_put_counts(FILE *out, const char *file, const struct metrics_row *rows,
				    unsigned n_rows)
{
	static const char line[] = "blockpull_images{file=\"%s\",state=\"%s\"} %u\n";
	unsigned n_untried = 0, n_running = 0, n_done = 0, n_failed = 0;

	for (unsigned i = 0; i < n_rows; i++) {
		const struct pull_image *image = rows[i].image;
		if (image->state == PULL_UNTRIED)
			n_untried++;
		else if (image->state == PULL_RUNNING)
			n_running++;
		else if (image->code)
			n_failed++;
		else
			n_done++;
	}
	metrics_text_put_head(out, "images", "gauge", "Images by what has become of them.");
	fprintf(out, line, file, "untried", n_untried);
	fprintf(out, line, file, "running", n_running);
	fprintf(out, line, file, "done", n_done);
	fprintf(out, line, file, "failed", n_failed);
}

void metrics_text_put(FILE *out, const char *file, const struct metrics_row *rows, unsigned n_rows,
		      int64_t began_s, int code)
{
	metrics_text_put_head(out, "build_info", "gauge", "The version, in a label; always 1.");
	fprintf(out, "blockpull_build_info{file=\"%s\",version=\"%s\"} 1\n", file, bpull_version());
	metrics_text_put_one(out, file, "start_time_seconds", "When the command began, since 1970.",
			     began_s);
	metrics_text_put_one(out, file, "update_time_seconds", "When this was written, since 1970.",
			     time(NULL));
	metrics_text_put_one(out, file, "running", "1: the command goes on; 0: it has ended.",
			     code == METRICS_TEXT_RUNNING);
	if (code != METRICS_TEXT_RUNNING)
		metrics_text_put_one(out, file, "exit_code",
				     "What the command ended with; 0: done.", code);
	metrics_text_put_counts(out, file, rows, n_rows);
	for (size_t i = 0; i < sizeof(metrics_text_kinds) / sizeof(metrics_text_kinds[0]); i++)
		metrics_text_put_kind(out, file, rows, n_rows, &metrics_text_kinds[i]);
}
