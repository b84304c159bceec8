/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A base that no cache has is read past the page cache: half of the time of a pull from a fast
 * device went into pages that the pull alone would ever look at (docs/performance.md). What was
 * cached when the base was opened is read from there.
 *
 * THE MARK. The next pull of the same base would find nothing cached either, and read the device
 * again. Whether there will be one can't be known, so it is done as with renting and buying. The
 * first pull reads past the cache and leaves one page in it, the file's last. A pull that opens the
 * base and finds this page (posix/past_cache.c) knows that it was read not long ago, by a pull, or
 * by a machine that boots (the backup of its partition table is there). That pull reads through
 * the cache, and all that follow have the base from there. So the device reads a base twice at
 * most, while the page stays; it goes when memory is short, and then the base would not have
 * stayed.
 *
 * Asking who else has the base open, by its locks, was rejected: it tells nothing of pulls one
 * after the other. Reading ahead (POSIX_FADV_WILLNEED) and having the ring's workers copy were
 * rejected: no faster, since what costs is the page cache's memory, not waiting.
 */
#include "engine/copy/phases/cold.h"

#include "engine/copy/walk/run_state.h"
#include "engine/core/clock.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/file.h"
#include "io/file/cached.h"
#include "io/unaligned.h"

/* Shorter reads have neighbours, which the kernel reads ahead. */
#define MIN_COLD_LEN (64 * KiB)

#define MARK_LEN 4096

/* Jobs that begin together, and share what they read, go the same way: the mark that one of them
 * left tells the others nothing. */
#define TOGETHER_NS UINT64_C(1000000000)

struct cold_choice cold_decide(const struct cold_facts *f)
{
	bool is_first = !f->marked_ns;
	bool passes = f->is_begun ? f->passes : is_first || f->now_ns - f->marked_ns < TOGETHER_NS;

	if (!f->fits)
		return (struct cold_choice){ 0 };
	return (struct cold_choice){ .passes = passes,
				     .past_cache = passes && !f->was_cached,
				     .leaves_mark = passes && is_first };
}

static struct cold_facts find_facts(const struct copy_run *p, unsigned depth,
				    const struct io_req *req)
{
	const struct cold_layers *layers = &p->walk->cold;
	const struct file *file = req->file;

	return (struct cold_facts){
		/* A copy that follows a guest's read finds what that has read in the cache. */
		.fits = p->kind == RUN_COPY && req->len >= MIN_COLD_LEN &&
			io_req_may_pass_cache(req),
		.was_cached = file->past_cache.seen &&
			      file_cached_has(file->past_cache.seen, req->off, req->len),
		.is_begun = layer_bits_has(&layers->begun, depth),
		.passes = layer_bits_has(&layers->passes, depth),
		.marked_ns = file->past_cache.marked_ns,
		.now_ns = engine_now_ns(),
	};
}

/* On a worker. Nothing depends on it, so that it never fails. */
static int read_mark(struct io_req *req)
{
	char page[MARK_LEN];

	(void)file_read_padded(req->file, page, sizeof(page),
			       round_down(req->file->len - 1, (uint64_t)MARK_LEN));
	return 0;
}

static void leave_mark(struct copy_run *p, struct file *file)
{
	file->past_cache.marked_ns = engine_now_ns();
	p->read.has_mark = true;
	io_req_work(&p->read.mark, read_mark);
	p->read.mark.file = file;
	op_submit(&p->op, &p->read.mark);
}

void cold_choose(struct copy_run *p, unsigned depth, struct io_req *req)
{
	struct cold_facts facts = find_facts(p, depth, req);
	struct cold_choice choice = cold_decide(&facts);

	if (!facts.fits)
		return;
	layer_bits_set(&p->walk->cold.begun, depth);
	if (choice.passes)
		layer_bits_set(&p->walk->cold.passes, depth);
	req->past_cache = choice.past_cache;
	/* A run has one such request. Another file's mark is left by the next run. */
	if (choice.leaves_mark && !p->read.has_mark)
		leave_mark(p, req->file);
}

/* The request reads guest bytes, and not compressed input, which has a buffer of its own. */
static bool is_data(const struct copy_run *p, const struct io_req *req)
{
	const uint8_t *to = req->one.iov_base;

	return to >= p->buf && to < p->buf + p->plan.len;
}

uint64_t cold_passed_len(const struct copy_run *p)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < p->read.n_reqs; i++) {
		const struct io_req *req = &p->reqs[i];

		if (is_data(p, req) && (req->past_cache || req->file->io_align > 1))
			len += (uint64_t)req->result;
	}
	return len;
}
