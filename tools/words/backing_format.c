/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * FILE=FMT ends with the format, so the last "=" parts them: file names may
 * hold others. What contradicts what was said before is refused; that the last
 * one holds, as for other options, was rejected, because it would silently read
 * a disk in another way than half of the command line says.
 */
#include "tools/words/backing_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/words/suggest.h"

static const char *const words[] = { "raw", "qcow2", "qed", "auto" };

static int backing_format_unknown_word(const char *text, const char *word,
				       char why[BACKING_FORMAT_WHY_CAP])
{
	struct suggest suggest = { 0 };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		suggest_offer(&suggest, word, words[i]);
	if (suggest.best)
		snprintf(why, BACKING_FORMAT_WHY_CAP, "'%.160s': unknown value; did you mean '%s'?",
			 text, suggest.best);
	else
		snprintf(why, BACKING_FORMAT_WHY_CAP,
			 "'%.160s': unknown value; it must be raw, qcow2, qed, auto or FILE=FMT",
			 text);
	return -1;
}

static int backing_format_take_all(struct backing_formats *formats, const char *text,
				   char why[BACKING_FORMAT_WHY_CAP])
{
	bool is_auto = !strcmp(text, "auto");
	enum bpull_format format = bpull_format_by_name(text);

	if (!is_auto && format == BPULL_FORMAT_UNKNOWN)
		return backing_format_unknown_word(text, text, why);
	if (is_auto ? formats->all != BPULL_FORMAT_UNKNOWN
		    : formats->is_auto || (formats->all && formats->all != format)) {
		snprintf(why, BACKING_FORMAT_WHY_CAP,
			 "'%s' contradicts '%s', which was said before; name single files with "
			 "FILE=FMT",
			 text, formats->is_auto ? "auto" : bpull_format_name(formats->all));
		return -1;
	}
	formats->is_auto = is_auto;
	formats->all = format;
	return 0;
}

static int backing_format_add_file(struct backing_formats *formats, const char *name, size_t len,
				   enum bpull_format format, char why[BACKING_FORMAT_WHY_CAP])
{
	struct bpull_backing_format *list =
		reallocarray(formats->list, formats->n + 1, sizeof(*list));
	char *copy = list ? strndup(name, len) : NULL;

	if (list)
		formats->list = list;
	if (!copy) {
		snprintf(why, BACKING_FORMAT_WHY_CAP, "out of memory");
		return -1;
	}
	list[formats->n++] = (struct bpull_backing_format){ .file = copy, .format = format };
	return 0;
}

int backing_formats_take(struct backing_formats *formats, const char *text,
			 char why[BACKING_FORMAT_WHY_CAP])
{
	const char *equals = strrchr(text, '=');
	enum bpull_format format;

	if (!equals)
		return backing_format_take_all(formats, text, why);
	format = bpull_format_by_name(equals + 1);
	if (equals == text) {
		snprintf(why, BACKING_FORMAT_WHY_CAP, "'%.160s': the file's name is missing", text);
		return -1;
	}
	if (!strcmp(equals + 1, "auto")) {
		snprintf(why, BACKING_FORMAT_WHY_CAP,
			 "'%.160s': of a single file its format must be said: raw, qcow2 or qed",
			 text);
		return -1;
	}
	if (format == BPULL_FORMAT_UNKNOWN)
		return backing_format_unknown_word(text, equals + 1, why);
	for (size_t i = 0; i < formats->n; i++) {
		const struct bpull_backing_format *f = &formats->list[i];
		size_t len = strlen(f->file);

		if (len != (size_t)(equals - text) || memcmp(f->file, text, len))
			continue;
		if (f->format == format)
			return 0;
		snprintf(why, BACKING_FORMAT_WHY_CAP,
			 "'%.160s': the same file was said to be %s before", text,
			 bpull_format_name(f->format));
		return -1;
	}
	return backing_format_add_file(formats, text, (size_t)(equals - text), format, why);
}

void backing_formats_apply(const struct backing_formats *formats,
			   struct bpull_disk_options *options)
{
	options->backing_format = formats->all;
	options->backing_trust = formats->is_auto ? BPULL_TRUST_ALL : BPULL_TRUST_ALONE;
	options->backing_formats = formats->list;
	options->n_backing_formats = formats->n;
}

void backing_formats_free(struct backing_formats *formats)
{
	for (size_t i = 0; i < formats->n; i++)
		free((char *)formats->list[i].file);
	free(formats->list);
	*formats = (struct backing_formats){ 0 };
}
