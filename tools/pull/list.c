/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A list is read as a whole before the first image is opened: what is wrong
 * with its last line is known then, and it may be rewritten while images are
 * pulled. A name is taken as it stands: no quotes, no escapes, no cut of blanks
 * at its ends, so that any name but one with a newline can be written.
 *
 * A shard is every n-th name. A hash of the name was rejected: its shards are
 * of uneven length, and people can't tell which one has a name. A contiguous
 * part was, too: names that are appended would move others to other machines.
 */
#include "tools/pull/list.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

#define NAME_LIST_MAX   (256u << 20) /* bytes; a million long paths are below it */
#define NAME_LIST_FIRST 65536
#define SHARD_MAX       1000000

static int name_list_no_memory(void)
{
	say_error("out of memory");
	return EXIT_CODE_FAILED;
}

static int name_list_unreadable(const char *shown, int error)
{
	say_error("--list: '%s' can't be read: %s", shown, strerror(error));
	return EXIT_CODE_FAILED;
}

/* All of the file, with a NUL behind it. */
static int name_list_load(struct name_list *list, FILE *file, const char *shown, size_t *len)
{
	size_t cap = 0;

	for (*len = 0;;) {
		if (cap - *len < 2) {
			char *more = realloc(list->text, cap ? cap * 2 : NAME_LIST_FIRST);
			if (!more)
				return name_list_no_memory();
			list->text = more;
			cap = cap ? cap * 2 : NAME_LIST_FIRST;
		}
		*len += fread(list->text + *len, 1, cap - *len - 1, file);
		if (ferror(file))
			return name_list_unreadable(shown, errno);
		if (*len > NAME_LIST_MAX) {
			say_error("--list: '%s' is longer than %u MiB", shown, NAME_LIST_MAX >> 20);
			return EXIT_CODE_FAILED;
		}
		if (feof(file))
			break;
	}
	list->text[*len] = 0;
	return 0;
}

static bool name_list_is_name(const char *text, bool by_null)
{
	if (by_null)
		return *text;
	return *text != '#' && text[strspn(text, " \t")];
}

/* Ends each name with a NUL and notes where the names begin. */
static int name_list_split(struct name_list *list, size_t len, bool by_null)
{
	const char *end = list->text + len;
	size_t n_lines = 1;

	for (char *at = list->text; at < end; at++) {
		if (!by_null && *at == '\n')
			*at = 0;
		n_lines += !*at;
	}
	list->names = calloc(n_lines, sizeof(*list->names));
	if (!list->names)
		return name_list_no_memory();
	for (char *name = list->text; name < end; name += strlen(name) + 1)
		if (name_list_is_name(name, by_null))
			list->names[list->n++] = name;
	return 0;
}

static bool name_list_is_crlf(const char *text, size_t len)
{
	const char *end = text + len, *line_end = memchr(text, '\n', len);

	if (!line_end)
		return false;
	for (; line_end; line_end = memchr(line_end + 1, '\n', end - line_end - 1))
		if (line_end == text || line_end[-1] != '\r')
			return false;
	return true;
}

/* Marks of another system's text would be parts of names, of images that are not there: each run
 * would fail as if another one could mend it. */
static int name_list_judge(const char *text, size_t len, const char *shown)
{
	if (memchr(text, 0, len))
		return say_usage("pull",
				 "--list: '%s' holds a NUL byte; with --null its names end "
				 "with one",
				 shown);
	if (!strncmp(text, "\xef\xbb\xbf", 3))
		return say_usage("pull",
				 "--list: '%s' begins with a byte order mark, which would be "
				 "part of a name: write it without",
				 shown);
	if (name_list_is_crlf(text, len))
		return say_usage("pull",
				 "--list: all lines of '%s' end with CR LF, and CR would be part "
				 "of the names: write it with LF alone",
				 shown);
	return 0;
}

static int name_list_take(struct name_list *list, FILE *file, const char *shown, bool by_null)
{
	size_t len;
	int code = name_list_load(list, file, shown, &len);

	if (code)
		return code;
	if (!by_null)
		code = name_list_judge(list->text, len, shown);
	if (!code)
		code = name_list_split(list, len, by_null);
	if (!code && !list->n)
		return say_usage("pull", "--list: '%s' names no image", shown);
	return code;
}

int name_list_read(struct name_list *list, const char *path, bool by_null)
{
	bool is_stdin = !strcmp(path, "-");
	const char *shown = is_stdin ? "standard input" : path;
	FILE *file = is_stdin ? stdin : fopen(path, "re");
	int code;

	if (!file)
		return name_list_unreadable(shown, errno);
	code = name_list_take(list, file, shown, by_null);
	if (!is_stdin)
		fclose(file);
	return code;
}

void name_list_free(struct name_list *list)
{
	free(list->names);
	free(list->text);
	*list = (struct name_list){ 0 };
}

/* Digits up to `end`; false: something else, or too many. */
static bool shard_number(const char *text, char end, unsigned *number, const char **rest)
{
	char *stop;
	unsigned long value = strtoul(text, &stop, 10);

	if (*text < '0' || *text > '9' || *stop != end || value > SHARD_MAX)
		return false;
	*number = value;
	*rest = stop + 1;
	return true;
}

int shard_parse(struct shard *shard, const char *text)
{
	const char *rest;

	if (!shard_number(text, '/', &shard->idx, &rest) ||
	    !shard_number(rest, 0, &shard->n, &rest) || !shard->n)
		return say_usage("pull",
				 "--shard: '%s' is not I/N, as in 0/4 to 3/4, with N from 1 "
				 "to %d",
				 text, SHARD_MAX);
	if (shard->idx >= shard->n)
		return say_usage("pull", "--shard: '%s': the first number goes from 0 to %u", text,
				 shard->n - 1);
	return 0;
}

unsigned shard_take(const struct shard *shard, char **names, unsigned n)
{
	unsigned n_taken = 0;

	if (!shard->n)
		return n;
	for (unsigned i = shard->idx; i < n; i += shard->n)
		names[n_taken++] = names[i];
	return n_taken;
}
