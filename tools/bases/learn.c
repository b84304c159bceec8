/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A hash of a whole disk can't be compared while parts of the disk are read in any order. So the
 * disk is read once before, and hashed by chunks, too: what is read later must be these chunks.
 */
#include "tools/bases/learn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "engine/blockpull.h"

#define LEARN_CHUNK_LEN (1u << 20)
#define LEARN_READ_LEN  (8u << 20)

struct learning {
	struct bpull_source source;  /* as it was found, but for its ops */
	struct bpull_source_ops ops; /* which close nothing: the source is the caller's */
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	XXH3_state_t *whole;
	uint8_t *bytes;
	struct manifest *manifest;
};

static int learn_fail(struct bpull_error *error, int rc, const char *name)
{
	*error = (struct bpull_error){ .code = rc };
	snprintf(error->message, sizeof(error->message), "'%.500s' can't be read as a whole: %s",
		 name, strerror(-rc));
	return rc;
}

/* The image itself, and nothing below it. */
static int learn_find(void *opaque, const struct bpull_open_request *request,
		      struct bpull_base *base, struct bpull_error *error)
{
	const struct learning *l = opaque;

	(void)error;
	if (request->recorded)
		return 1;
	base->source = l->source;
	return 0;
}

static void learn_take_source(struct learning *l, const struct bpull_source *source)
{
	size_t size = source->ops->size < sizeof(l->ops) ? source->ops->size : sizeof(l->ops);

	memcpy(&l->ops, source->ops, size);
	l->ops.size = sizeof(l->ops);
	l->ops.close = NULL;
	l->source = *source;
	l->source.ops = &l->ops;
}

static int learn_open(struct learning *l, const char *name, struct bpull_error *error)
{
	struct bpull_engine_options e = { .size = sizeof(e),
					  .flags = BPULL_ENGINE_THREAD,
					  .io = BPULL_IO_THREADS };
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO,
					.format = BPULL_FORMAT_RAW,
					.find_base = learn_find,
					.find_opaque = l };
	int rc;

	l->whole = XXH3_createState();
	l->bytes = malloc(LEARN_READ_LEN);
	l->manifest->n =
		l->source.length / LEARN_CHUNK_LEN + !!(l->source.length % LEARN_CHUNK_LEN);
	l->manifest->digests = calloc(l->manifest->n + 1, sizeof(*l->manifest->digests));
	l->manifest->length = l->source.length;
	l->manifest->chunk_size = LEARN_CHUNK_LEN;
	if (!l->whole || !l->bytes || !l->manifest->digests)
		return learn_fail(error, -ENOMEM, name);
	XXH3_128bits_reset(l->whole);
	rc = bpull_engine_open(&e, &l->engine, error);
	return rc ? rc : bpull_disk_open(l->engine, name, &o, &l->disk, error);
}

static void learn_add(struct learning *l, uint64_t at, uint64_t len)
{
	XXH3_128bits_update(l->whole, l->bytes, len);
	for (uint64_t done = 0, n; done < len; done += n) {
		XXH128_canonical_t canonical;

		n = len - done < LEARN_CHUNK_LEN ? len - done : LEARN_CHUNK_LEN;
		XXH128_canonicalFromHash(&canonical, XXH3_128bits(l->bytes + done, n));
		memcpy(l->manifest->digests[(at + done) / LEARN_CHUNK_LEN], &canonical,
		       sizeof(canonical));
	}
}

/* The disk may end behind the source, with a whole sector. */
static int learn_read(struct learning *l, const char *name, int (*stops)(void),
		      struct bpull_error *error)
{
	uint64_t length = l->source.length;

	for (uint64_t at = 0, n; at < length; at += n) {
		int rc;

		n = length - at < LEARN_READ_LEN ? length - at : LEARN_READ_LEN;
		rc = stops && stops() ? -EINTR : bpull_pread(l->disk, l->bytes, n, at);
		if (rc)
			return learn_fail(error, rc, name);
		learn_add(l, at, n);
	}
	return 0;
}

int learn_content(const struct bpull_source *source, const char *name, int (*stops)(void),
		  struct manifest *manifest, uint8_t whole[16], struct bpull_error *error)
{
	struct learning l = { .manifest = manifest };
	XXH128_canonical_t canonical;
	int rc;

	learn_take_source(&l, source);
	rc = learn_open(&l, name, error);
	if (!rc)
		rc = learn_read(&l, name, stops, error);
	if (!rc) {
		XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(l.whole));
		memcpy(whole, &canonical, sizeof(canonical));
	}
	bpull_disk_close(l.disk);
	bpull_engine_close(l.engine);
	XXH3_freeState(l.whole);
	free(l.bytes);
	return rc;
}
