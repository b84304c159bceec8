/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A manifest that was cut off, put together of two, or edited would have a wrong
 * base taken for right, or a right one for wrong, in the middle of a pull. So it
 * is read as strictly as it is printed, to the last line's end.
 */
#include "tools/bases/manifest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tools/bases/manifest_state.h"

#define MIN_CHUNK   4096u
#define MAX_CHUNK   (4u << 20)
#define LINE_CAP    (MANIFEST_HASH_LEN + 2 + 4096 + 2) /* a hash, and a name of a file */
#define HOW_TO_HASH "`blockpull hash --chunk=1M -f raw FILE` prints one, of what the server exports"

int manifest_bad(const struct manifest_reading *reading, const char *format, ...)
{
	struct bpull_error *error = reading->error;
	va_list args;
	int used;

	*error = (struct bpull_error){ .code = -EINVAL };
	used = snprintf(error->message, sizeof(error->message),
			"'%.500s', line %llu: ", reading->file, (unsigned long long)reading->line);
	va_start(args, format);
	vsnprintf(error->message + used, sizeof(error->message) - used, format, args);
	va_end(args);
	return -EINVAL;
}

static int manifest_fail(const struct manifest_reading *reading, int rc)
{
	*reading->error = (struct bpull_error){ .code = rc };
	snprintf(reading->error->message, sizeof(reading->error->message), "'%.500s': %s",
		 reading->file, strerror(-rc));
	return rc;
}

/* ---- Chunks ---------------------------------------------------------------- */

static int manifest_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int manifest_hash(const struct manifest_reading *reading, const char *text, uint8_t digest[16])
{
	for (unsigned i = 0; i < 16; i++) {
		int high = manifest_digit(text[2 * i]);
		int low = high < 0 ? -1 : manifest_digit(text[2 * i + 1]);

		if (low < 0)
			return manifest_bad(reading, "a hash of %u digits (0-9, a-f) is missing",
					    MANIFEST_HASH_LEN);
		digest[i] = high << 4 | low;
	}
	return 0;
}

/* Whether the chunk may follow those that there are. */
static int manifest_check_next(const struct manifest_reading *reading, uint64_t start,
			       uint64_t length)
{
	const struct manifest *m = reading->manifest;

	if (start != m->length)
		return manifest_bad(reading, "the chunk begins at %llu, and should at %llu",
				    (unsigned long long)start, (unsigned long long)m->length);
	if (!length || length > INT64_MAX - start)
		return manifest_bad(reading, "a chunk of %llu bytes makes no sense",
				    (unsigned long long)length);
	if (length > MAX_CHUNK)
		return manifest_bad(reading,
				    "a chunk of %llu bytes is too long: at most %u can be "
				    "compared; " HOW_TO_HASH,
				    (unsigned long long)length, MAX_CHUNK);
	if (m->n && length > m->chunk_size)
		return manifest_bad(reading, "a chunk of %llu bytes follows one of %u",
				    (unsigned long long)length, m->chunk_size);
	if (m->n && m->length % m->chunk_size)
		return manifest_bad(reading, "a chunk follows a shorter one, which should be last");
	return 0;
}

int manifest_add(struct manifest_reading *reading, const uint8_t digest[16], uint64_t start,
		 uint64_t length)
{
	struct manifest *m = reading->manifest;
	int rc = manifest_check_next(reading, start, length);

	if (rc)
		return rc;
	if (m->n == reading->room) {
		uint64_t room = reading->room ? 2 * reading->room : 1024;
		void *more = reallocarray(m->digests, room, sizeof(*m->digests));

		if (!more)
			return manifest_fail(reading, -ENOMEM);
		m->digests = more;
		reading->room = room;
	}
	memcpy(m->digests[m->n++], digest, sizeof(*m->digests));
	m->length += length;
	if (!m->chunk_size)
		m->chunk_size = (uint32_t)length;
	return 0;
}

int manifest_finish(const struct manifest_reading *reading)
{
	struct manifest *m = reading->manifest;

	if (!m->n)
		return manifest_bad(reading,
				    "there are no chunks: give the hash itself, for which the base "
				    "is read once more, or a list of chunks; " HOW_TO_HASH);
	/* Of a disk of one chunk it is not told how long one would be. */
	if (m->n == 1)
		for (m->chunk_size = MIN_CHUNK; m->chunk_size < m->length;)
			m->chunk_size *= 2;
	if (m->chunk_size < MIN_CHUNK || (m->chunk_size & (m->chunk_size - 1)))
		return manifest_bad(
			reading,
			"chunks of %u bytes can't be compared, only a power of two from "
			"%u to %u; " HOW_TO_HASH,
			m->chunk_size, MIN_CHUNK, MAX_CHUNK);
	return 0;
}

/* ---- Lines ----------------------------------------------------------------- */

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
