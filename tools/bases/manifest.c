/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A manifest that was cut off, put together of two, or edited would have a wrong
 * base taken for right, or a right one for wrong, in the middle of a pull. So it
 * is read as strictly as it is printed, to the last line's end.
 */
#include "tools/bases/manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tools/bases/manifest_state.h"

#define LINE_CAP (MANIFEST_HASH_LEN + 2 + 4096 + 2) /* a hash, and a name of a file */

/* Digits; *end is behind them. False: there are none, or too many. */
static bool manifest_number(const char *text, const char **end, uint64_t *number)
{
	const char *c = text;

	*number = 0;
	for (; *c >= '0' && *c <= '9'; c++)
		if (__builtin_mul_overflow(*number, UINT64_C(10), number) ||
		    __builtin_add_overflow(*number, (uint64_t)(*c - '0'), number))
			return false;
	*end = c;
	return c > text && (*text != '0' || c == text + 1);
}

/* START+LENGTH. */
static bool manifest_range(const char *text, uint64_t *start, uint64_t *length)
{
	const char *end;

	return manifest_number(text, &end, start) && *end == '+' &&
	       manifest_number(end + 1, &end, length) && !*end;
}

/* One line without its end. */
static int manifest_take_line(struct manifest_reading *reading, const char *line, bool is_last)
{
	const char *rest = line + MANIFEST_HASH_LEN;
	uint8_t digest[16];
	uint64_t start, length;
	int rc = manifest_hash(reading, line, digest);

	if (rc)
		return rc;
	if (rest[0] != ' ' || rest[1] != ' ' || !rest[2])
		return manifest_bad(reading, "two spaces and %s do not follow the hash",
				    is_last ? "the name of the file" : "START+LENGTH");
	if (!manifest_range(rest + 2, &start, &length))
		return is_last ? manifest_finish(reading)
			       : manifest_bad(reading, "START+LENGTH does not follow the hash");
	if (is_last && start != reading->manifest->length)
		return manifest_finish(reading); /* an odd name */
	rc = manifest_add(reading, digest, start, length);
	return rc || !is_last ? rc
			      : manifest_bad(reading, "the last line, of the whole disk, is "
						      "missing: the file was cut off");
}

static int manifest_read_lines(struct manifest_reading *reading, FILE *file)
{
	char line[LINE_CAP];
	int rc = 0, next = 0;

	while (!rc && next != EOF) {
		size_t len;

		reading->line++;
		if (!fgets(line, sizeof(line), file))
			return ferror(file) ? manifest_fail(reading, -errno)
					    : manifest_bad(reading, "the file is empty");
		len = strlen(line);
		if (line[len ? len - 1 : 0] != '\n')
			return manifest_bad(reading, "the line has no end, is too long, or has a "
						     "NUL");
		line[len - 1] = 0;
		next = getc(file);
		if (next == EOF && ferror(file))
			return manifest_fail(reading, -errno);
		ungetc(next, file);
		rc = manifest_take_line(reading, line, next == EOF);
	}
	return rc;
}

int manifest_read(const char *name, struct manifest *manifest, struct bpull_error *error)
{
	struct manifest_reading reading = { .file = name, .manifest = manifest, .error = error };
	FILE *file = fopen(name, "re");
	int rc, first;

	*manifest = (struct manifest){ 0 };
	if (!file)
		return manifest_fail(&reading, -errno);
	first = getc(file);
	ungetc(first, file);
	rc = first == '{' ? manifest_read_json(&reading, file)
			  : manifest_read_lines(&reading, file);
	fclose(file);
	return rc;
}

void manifest_free(struct manifest *manifest)
{
	free(manifest->digests);
	*manifest = (struct manifest){ 0 };
}
