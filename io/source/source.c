/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files whose bytes a program supplies.
 *
 * One read is one or more questions: a source has a longest one. Where the range or the memory does
 * not fit the source (blocks, several buffers), the questions fill a buffer that is copied out of.
 * Passing the vectors on was rejected: a guest's 128 pages would be 128 requests on a network.
 */
#include "io/source/source.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/base.h"
#include "io/io.h"
#include "io/req.h"
#include "io/source/ask.h"
#include "io/source/expect.h"
#include "io/source/zeros.h"

/* A program's result: 0 or -errno. Any other number is an error, too. */
static int known_error(int rc)
{
	return rc > 0 || rc < -4095 ? -EIO : rc;
}

void source_read_done(struct source_ask *ask, int rc)
{
	source_end_ask(ask, known_error(rc));
}

/* Questions end where multiples of max_len lie: the next read begins with a whole one. */
static unsigned count_pieces(const struct source *source, uint64_t from, uint64_t to)
{
	uint64_t max_len = source->max_len;

	return (unsigned)((to - 1) / max_len - from / max_len + 1);
}

static void ask_pieces(struct source_read *read, uint8_t *buf, uint64_t from, uint64_t to,
		       enum source_asker asker)
{
	struct source_file *sf = read->sf;
	const struct source *source = &sf->source;

	for (unsigned i = 0; from < to; i++) {
		uint64_t end = MIN(round_down(from, source->max_len) + source->max_len, to);

		source_note_asked(sf);
		source->ops.read(source->opaque, buf, end - from, from, asker, &read->asks[i]);
		buf += end - from;
		from = end;
	}
}

/* 0, or -errno, after which there is no end to wait for. */
static int begin_read(struct source_file *sf, const struct source_want *want, struct io *io,
		      struct io_req *req, struct source_wait *wait)
{
	const struct source_expect *expect = sf->source.expect;
	uint64_t chunk_len = expect ? source_expect_chunk_len(expect) : 1, len = want->len;
	uint64_t block_len = MAX((uint64_t)sf->source.block_len, chunk_len);
	uint64_t from = round_down(want->off, block_len);
	uint64_t to = MIN(round_up(want->off + len, block_len), sf->file.len);
	bool is_flat = want->n_iov > 1 || from != want->off || to != want->off + len;
	struct source_read *read = source_read_new(sf, count_pieces(&sf->source, from, to));

	if (!read)
		return -ENOMEM;
	source_read_set_end(read, io, req, wait);
	read->iov = want->iov;
	read->skip = want->off - from;
	read->got = len;
	read->from = from;
	read->to = to;
	if (is_flat && !(read->flat = malloc(to - from))) {
		free(read);
		return -ENOMEM;
	}
	ask_pieces(read, is_flat ? read->flat : want->iov[0].iov_base, from, to, want->asker);
	source_drop_part(read, 0);
	return 0;
}

static ssize_t read_and_wait(struct file *file, void *buf, size_t len, uint64_t off)
{
	struct source_file *sf = (struct source_file *)file;
	struct source_wait wait = { 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct source_want want = { .iov = &iov, .n_iov = 1, .off = off, .asker = SOURCE_CALL };
	int rc;

	if (!len || off >= file->len)
		return 0;
	want.len = MIN((uint64_t)len, file->len - off);
	rc = begin_read(sf, &want, NULL, NULL, &wait);
	return rc ? rc : (ssize_t)source_wait_for(sf, &wait);
}

static void submit_read(struct file *file, struct io *io, struct io_req *req)
{
	struct source_want want = source_want_of(req, file->len);
	int rc = want.len ? begin_read((struct source_file *)file, &want, io, req, NULL) : 0;

	if (rc || !want.len)
		source_end_req(io, req, rc);
}

/* ---- Opening and closing ---- */

static void close_source(struct file *file)
{
	struct source_file *sf = (struct source_file *)file;

	if (sf->source.ops.close)
		sf->source.ops.close(sf->source.opaque);
	pthread_mutex_lock(&sf->lock);
	while (sf->n_asked)
		pthread_cond_wait(&sf->ended, &sf->lock);
	pthread_mutex_unlock(&sf->lock);
	pthread_cond_destroy(&sf->ended);
	pthread_mutex_destroy(&sf->lock);
	if (sf->zeros)
		file_close(sf->zeros);
	source_expect_free(sf->source.expect);
	free(file->name);
	free(file->real_name);
	free(file->of_source.identity);
	free(sf);
}

static void leave_source(struct file *file)
{
	const struct source *source = &((struct source_file *)file)->source;

	if (source->ops.leave)
		source->ops.leave(source->opaque);
}

static enum file_state look_at_source(struct file *file)
{
	return atomic_load(&((struct source_file *)file)->is_stale) ? FILE_CHANGED : FILE_SAME;
}

static const struct file_ops source_file_ops = {
	.read_at = read_and_wait,
	.write_at = source_refuse_write,
	.sync = source_sync_nothing,
	.truncate = source_refuse_truncate,
	.status = source_know_nothing,
	.look = look_at_source,
	.submit = submit_read,
	.close = close_source,
	.leave = leave_source,
};

/* Device and inode stand for what a file is: here a digest of the identity does. No file system has
 * the device that a source without one gets. 0 or -ENOMEM. */
static int set_identity(struct source_file *sf, const char *identity)
{
	XXH128_hash_t digest;

	sf->file.dev = UINT64_MAX;
	sf->file.ino = (uintptr_t)sf;
	if (!identity)
		return 0;
	sf->file.of_source.identity = strdup(identity);
	if (!sf->file.of_source.identity)
		return -ENOMEM;
	digest = XXH3_128bits(identity, strlen(identity));
	sf->file.dev = digest.high64;
	sf->file.ino = digest.low64;
	return 0;
}

int source_open(const struct source *source, const char *name, bool trust, struct file **out,
		struct err *err)
{
	struct source_file *sf = calloc(1, sizeof(*sf));
	int rc;

	if (!sf) {
		if (source->ops.close)
			source->ops.close(source->opaque); /* between begin and end: openers wait */
		source_expect_free(source->expect);
		return err_set(err, -ENOMEM, "out of memory while opening an image");
	}
	sf->source = *source;
	pthread_mutex_init(&sf->lock, NULL);
	pthread_cond_init(&sf->ended, NULL);
	rc = source_init_file(&sf->file, &source_file_ops, name, source->len);
	if (!rc && trust && source->ops.extents && source->len)
		rc = source_zeros_new(sf, name, &sf->zeros);
	if (!rc)
		rc = set_identity(sf, source->identity);
	if (rc) {
		file_close(&sf->file);
		return err_set(err, rc, "out of memory while opening an image");
	}
	sf->file.of_source.zeros = sf->zeros;
	sf->file.of_source.expect = source->expect;
	sf->source.identity = NULL; /* the caller's */
	*out = &sf->file;
	return 0;
}
