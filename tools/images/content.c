/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A ring of buffers ahead of the reader. The map says which ranges are
 * zeros, of any length: those take no buffer. Requests end in any order and are
 * handed out in that of the disk.
 *
 * Reading without the map was rejected: a terabyte of holes would be read, and
 * looked at byte by byte.
 */
#include "tools/images/content.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/say.h"

#define PIECE_LEN (UINT64_C(1) << 20)
#define N_PIECES  8
#define N_EXTENTS 256
/* Zeros shorter than this are read with the data around them. */
#define MIN_ZEROS (UINT64_C(64) << 10)

const uint8_t content_zeros[CONTENT_ZEROS];

struct request {
	uint64_t start, length;
	bool is_zero, flying;
	int error;
	uint8_t *buf;
};

struct content {
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	const char *path;
	uint64_t size;
	uint64_t asked; /* guest bytes below this are read, or being read */
	struct bpull_extent extents[N_EXTENTS];
	int n_extents, extent;
	struct request ring[N_PIECES];
	unsigned first, n; /* of the ring, in order; the first may be in the reader's hands */
	bool lent;         /* it is */
};

int content_open(struct bpull_engine *engine, const char *path,
		 const struct bpull_disk_options *options, struct content **out,
		 struct bpull_error *error)
{
	struct bpull_disk_options own = *options;
	struct content *content = calloc(1, sizeof(*content));
	int rc = content ? 0 : -ENOMEM;

	own.flags |= BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO;
	for (unsigned i = 0; !rc && i < N_PIECES; i++) {
		content->ring[i].buf = malloc(PIECE_LEN);
		if (!content->ring[i].buf)
			rc = -ENOMEM;
	}
	if (!rc)
		rc = bpull_disk_open(engine, path, &own, &content->disk, error);
	if (rc) {
		content_close(content);
		return rc;
	}
	if (bpull_disk_warning(content->disk))
		say_note("warning: %s", bpull_disk_warning(content->disk));
	content->engine = engine;
	content->path = path;
	content->size = bpull_disk_size(content->disk);
	*out = content;
	return 0;
}

uint64_t content_size(const struct content *content)
{
	return content->size;
}

const char *content_hint(const struct content *content)
{
	return bpull_disk_hint(content->disk);
}

/* The extent at `asked`, or the next. 0 or -errno. */
static int content_find_extent(struct content *c, const struct bpull_extent **extent,
			       struct bpull_error *error)
{
	while (c->extent < c->n_extents &&
	       c->extents[c->extent].start + c->extents[c->extent].length <= c->asked)
		c->extent++;
	if (c->extent == c->n_extents) {
		c->extent = 0;
		c->n_extents = bpull_disk_map(c->disk, c->asked, c->extents, N_EXTENTS, error);
		if (c->n_extents <= 0) {
			int rc = c->n_extents ? c->n_extents : -EIO; /* an end before the end */

			c->n_extents = 0;
			return rc;
		}
	}
	*extent = &c->extents[c->extent];
	return 0;
}

/* How much of what lies at `asked` is zeros. 0 or -errno. */
static int content_zeros_here(struct content *c, uint64_t *len, struct bpull_error *error)
{
	const struct bpull_extent *extent;
	int rc = content_find_extent(c, &extent, error);

	*len = 0;
	if (!rc && extent->zero)
		*len = extent->start + extent->length - c->asked;
	return rc;
}

/* The next piece for the ring: long zeros by themselves, or data with short ones. */
static int content_ask(struct content *c, struct bpull_error *error)
{
	struct request *r = &c->ring[(c->first + c->n) % N_PIECES];
	uint64_t zeros;
	int rc = content_zeros_here(c, &zeros, error);

	*r = (struct request){ .start = c->asked, .buf = r->buf };
	r->is_zero = zeros >= MIN_ZEROS || (zeros && c->asked + zeros == c->size);
	if (r->is_zero) {
		r->length = zeros;
		c->asked += zeros;
	}
	while (!rc && !r->is_zero && r->length < PIECE_LEN && c->asked < c->size) {
		const struct bpull_extent *extent;
		uint64_t end;

		rc = content_zeros_here(c, &zeros, error);
		if (rc || zeros >= MIN_ZEROS)
			break;
		content_find_extent(c, &extent, error);
		end = extent->start + extent->length;
		if (end > r->start + PIECE_LEN)
			end = r->start + PIECE_LEN;
		r->length = end - r->start;
		c->asked = end;
	}
	if (rc)
		return rc;
	c->n++;
	if (!r->is_zero) {
		struct iovec iov = { r->buf, r->length };

		r->flying = true;
		bpull_read(c->disk, &iov, 1, r->start, r);
	}
	return 0;
}

/* Also other images' requests on the same engine. */
static int content_wait_for(struct content *c, const struct request *r)
{
	while (r->flying) {
		struct bpull_event events[N_PIECES];
		int n = bpull_engine_wait(c->engine, events, N_PIECES, -1);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			struct request *done = events[i].user_data;

			if (events[i].type != BPULL_EVENT_IO)
				continue;
			done->flying = false;
			done->error = events[i].error;
		}
	}
	return r->error;
}

int content_next(struct content *c, struct content_piece *piece, struct bpull_error *error)
{
	struct request *r;
	int rc = 0;

	if (c->lent) {
		c->first = (c->first + 1) % N_PIECES;
		c->n--;
	}
	c->lent = false;
	while (!rc && c->n < N_PIECES && c->asked < c->size)
		rc = content_ask(c, error);
	if (rc)
		return rc;
	*piece = (struct content_piece){ .start = c->size };
	if (!c->n)
		return 0;
	r = &c->ring[c->first];
	rc = content_wait_for(c, r);
	if (rc) {
		snprintf(error->message, sizeof(error->message),
			 "'%s': cannot read %llu bytes at guest offset %llu: %s", c->path,
			 (unsigned long long)r->length, (unsigned long long)r->start,
			 rc == -EBADMSG ? "a base is not what is expected of it" : strerror(-rc));
		error->code = rc;
		return rc;
	}
	c->lent = true;
	*piece = (struct content_piece){ r->start, r->length, r->is_zero ? NULL : r->buf };
	return 0;
}

void content_close(struct content *content)
{
	if (!content)
		return;
	bpull_disk_close(content->disk); /* waits for what is in flight */
	for (unsigned i = 0; i < N_PIECES; i++)
		free(content->ring[i].buf);
	free(content);
}
