/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a manifest must be, in both of its forms. */
#include "tools/bases/manifest_state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"

#define MIN_CHUNK   4096u
#define MAX_CHUNK   (4u << 20)
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

int manifest_fail(const struct manifest_reading *reading, int rc)
{
	*reading->error = (struct bpull_error){ .code = rc };
	snprintf(reading->error->message, sizeof(reading->error->message), "'%.500s': %s",
		 reading->file, strerror(-rc));
	return rc;
}

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
