/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The file that says which blocks of a source are zeros: its bytes are answers to questions for
 * extents, of which one fills what one table of the cache holds.
 */
#include "io/source/zeros.h"

#include <errno.h>
#include <stdlib.h>

#include "io/base.h"
#include "io/io.h"
#include "io/req.h"
#include "io/source/ask.h"
#include "io/source/expect.h"

/* Says which blocks of `of` are zeros. */
struct zeros_file {
	struct file file; /* first */
	struct source_file *of;
};

/* Bytes of zeros' file that one question fills. */
#define EXTENTS_BYTES (SOURCE_EXTENTS_LEN / SOURCE_BLOCK_LEN / 8)

/* Where digests are expected, the source's word on zeros counts for chunks that must be zeros. */
static void set_bits(struct source_ask *ask, uint64_t from, uint64_t end)
{
	const struct source_expect *expect = ask->read->sf->source.expect;

	for (uint64_t at = from; at < end; at += SOURCE_BLOCK_LEN) {
		uint64_t block = (at - ask->off) / SOURCE_BLOCK_LEN;

		if (expect && !source_expect_is_zero(expect, at))
			continue;
		ask->bits[block / 8] |= (uint8_t)(1u << block % 8);
	}
}

/* Blocks that lie in zeros altogether; neighbouring extents of zeros are one. */
static void mark_zeros(struct source_ask *ask, uint64_t end)
{
	uint64_t from = MAX(round_up(ask->zero_from, SOURCE_BLOCK_LEN),
			    round_down(ask->at, SOURCE_BLOCK_LEN));
	bool is_last = end == ask->read->sf->file.len;

	set_bits(ask, from,
		 is_last ? round_up(end, SOURCE_BLOCK_LEN) : round_down(end, SOURCE_BLOCK_LEN));
}

void source_extents_add(struct source_ask *ask, const struct source_extent *extent)
{
	uint64_t end = ask->at + MIN(extent->len, ask->end - ask->at);

	if (end == ask->at)
		return;
	if (extent->is_zero)
		mark_zeros(ask, end);
	else
		ask->zero_from = end;
	ask->at = end;
}

/* After an error all that was not told is data. But where the source is away, changed or closed the
 * read fails, and may be tried again. */
void source_extents_done(struct source_ask *ask, int rc)
{
	bool is_lost = rc == -EHOSTUNREACH || rc == -ESTALE || rc == -ECANCELED;

	source_end_ask(ask, is_lost ? rc : 0);
}

static void ask_for_zeros(struct source_read *read, uint64_t off, enum source_asker asker)
{
	struct source_file *sf = read->sf;

	for (unsigned i = 0; i < read->n_asks; i++, off += SOURCE_EXTENTS_LEN) {
		struct source_ask *ask = &read->asks[i];

		ask->bits = read->flat + i * EXTENTS_BYTES;
		ask->off = ask->at = ask->zero_from = off;
		ask->end = MIN(off + SOURCE_EXTENTS_LEN, sf->file.len);
		source_note_asked(sf);
		sf->source.ops.extents(sf->source.opaque, off, ask->end - off, asker, ask);
	}
}

/* off and len are of the zeros' file, and inside it. */
static int begin_extents(const struct zeros_file *zf, const struct source_want *want, struct io *io,
			 struct io_req *req, struct source_wait *wait)
{
	uint64_t from = round_down(want->off, EXTENTS_BYTES), end = want->off + want->len;
	unsigned n = (unsigned)((end - from + EXTENTS_BYTES - 1) / EXTENTS_BYTES);
	struct source_read *read = source_read_new(zf->of, n);

	if (!read)
		return -ENOMEM;
	source_read_set_end(read, io, req, wait);
	read->iov = want->iov;
	read->skip = want->off - from;
	read->got = want->len;
	read->flat = calloc(n, EXTENTS_BYTES);
	if (!read->flat) {
		free(read);
		return -ENOMEM;
	}
	ask_for_zeros(read, from * 8 * SOURCE_BLOCK_LEN, want->asker);
	source_drop_part(read, 0);
	return 0;
}

static ssize_t wait_for_zeros(struct file *file, void *buf, size_t len, uint64_t off)
{
	struct zeros_file *zf = (struct zeros_file *)file;
	struct source_wait wait = { 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct source_want want = { .iov = &iov, .n_iov = 1, .off = off, .asker = SOURCE_CALL };
	int rc;

	if (off >= file->len)
		return 0;
	want.len = MIN((uint64_t)len, file->len - off);
	rc = want.len ? begin_extents(zf, &want, NULL, NULL, &wait) : 0;
	return rc || !want.len ? rc : (ssize_t)source_wait_for(zf->of, &wait);
}

static void submit_zeros(struct file *file, struct io *io, struct io_req *req)
{
	struct source_want want = source_want_of(req, file->len);
	int rc = want.len ? begin_extents((struct zeros_file *)file, &want, io, req, NULL) : 0;

	if (rc || !want.len)
		source_end_req(io, req, rc);
}

static void close_zeros(struct file *file)
{
	free(file->name);
	free(file->real_name);
	free(file);
}

static const struct file_ops zeros_file_ops = {
	.read_at = wait_for_zeros,
	.write_at = source_refuse_write,
	.sync = source_sync_nothing,
	.truncate = source_refuse_truncate,
	.status = source_know_nothing,
	.submit = submit_zeros,
	.close = close_zeros,
};

int source_zeros_new(struct source_file *sf, const char *name, struct file **out)
{
	uint64_t n_blocks = (sf->file.len + SOURCE_BLOCK_LEN - 1) / SOURCE_BLOCK_LEN;
	struct zeros_file *zf = calloc(1, sizeof(*zf));
	int rc;

	if (!zf)
		return -ENOMEM;
	*out = &zf->file;
	zf->of = sf;
	rc = source_init_file(&zf->file, &zeros_file_ops, name, round_up((n_blocks + 7) / 8, 8));
	zf->file.of_source.told_len = 8 * SOURCE_BLOCK_LEN;
	return rc;
}
