/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy run's input: one request for each contiguous part, and one for
 * neighbouring compressed clusters, which the workers decode straight into
 * the run's buffer. Decoding on the owner's thread was rejected: at 300 MB/s
 * it would stand still for all other requests.
 */
#include "engine/copy/phases/read.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/copy/phases/cold.h"
#include "engine/copy/phases/shared_read.h"
#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/requests.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/waits.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "io/base.h"
#include "io/buf.h"
#include "io/file.h"
#include "io/io.h"

struct decode {
	struct io_req req;
	const struct layer *layer;
	uint64_t host_off; /* where the input was read */
	const uint8_t *in;
	uint32_t in_len;
	const struct copy_run *run;
	uint32_t part; /* index of its first part in the run's plan */
};

static struct layer *part_layer(const struct copy_run *p, const struct plan_part *part)
{
	return p->op.disk->chain->layers[part->depth];
}

/* Allocates the input buffer of all compressed parts, in which one read lies behind the other, and
 * their decode requests. 0 or -ENOMEM. */
static int prepare_decodes(struct copy_run *p)
{
	const struct plan *plan = &p->plan;
	uint32_t total = 0, in_len;
	unsigned n = 0;

	for (unsigned i = 0, n_taken; i < plan->n_parts; i += n_taken) {
		n_taken = 1;
		if (plan->parts[i].kind != EXTENT_COMPRESSED || plan->parts[i].is_repeat ||
		    plan->parts[i].is_fed)
			continue;
		n_taken = plan_neighbours(plan, i, &in_len);
		total += in_len;
		n += n_taken;
	}
	p->read.n_decodes = 0;
	if (!n)
		return 0;
	p->read.decodes = calloc(n, sizeof(*p->read.decodes));
	p->read.comp_buf = malloc(total);
	if (!p->read.decodes || !p->read.comp_buf)
		return -ENOMEM;
	p->read.comp_held = total;
	p->op.engine->comp_len += total;
	return 0;
}

static void add_read(struct copy_run *p, struct file *file, void *buf, uint32_t len,
		     uint64_t host_off)
{
	io_req_read(&p->reqs[p->read.n_reqs++], file, buf, len, host_off);
}

static void add_comp_read(struct copy_run *p, unsigned i, unsigned n, uint32_t in_len, uint8_t *in)
{
	const struct plan_part *first = &p->plan.parts[i];

	add_read(p, part_layer(p, first)->file, in, in_len, first->host_off);
	for (const struct plan_part *part = first; part < first + n; part++)
		p->read.decodes[p->read.n_decodes++] = (struct decode){
			.layer = part_layer(p, part),
			.host_off = part->host_off,
			.in = in + (part->host_off - first->host_off),
			.in_len = part->host_len,
			.run = p,
			.part = part - p->plan.parts,
		};
}

/* Describes reads of all of the part, but what other jobs have read or are reading. */
static void add_data_reads(struct copy_run *p, const struct plan_part *part)
{
	uint32_t end = part->buf_off + part->len, len;

	for (uint32_t at = part->buf_off; at < end; at += len) {
		if (shared_read_is_fed(p, at, end, &len))
			continue;
		add_read(p, part_layer(p, part)->data, p->buf + at, len,
			 part->host_off + (at - part->buf_off));
		cold_choose(p, part->depth, &p->reqs[p->read.n_reqs - 1]);
	}
}

static void describe_reads(struct copy_run *p)
{
	const struct plan *plan = &p->plan;
	uint8_t *in = p->read.comp_buf;
	uint32_t covered = 0, in_len;

	/* The bytes behind it belong to another run. */
	assert(plan->len <= buf_len(p->op.engine->bufs, p->buf));
	p->read.n_reqs = 0;
	p->read.has_mark = false;
	for (unsigned i = 0, n_taken; i < plan->n_parts; i += n_taken) {
		const struct plan_part *part = &plan->parts[i];

		n_taken = 1;
		covered = part->buf_off + part->len;
		if (part->is_fed)
			continue;
		if (part->kind == EXTENT_DATA) {
			add_data_reads(p, part);
		} else if (part->kind == EXTENT_COMPRESSED && !part->is_repeat) {
			n_taken = plan_neighbours(plan, i, &in_len);
			add_comp_read(p, i, n_taken, in_len, in);
			in += in_len;
			part += n_taken - 1;
			covered = part->buf_off + part->len;
		} else if (part->kind == EXTENT_ZERO) {
			memset(p->buf + part->buf_off, 0, part->len);
		}
	}
	memset(p->buf + covered, 0, plan->len - covered);
}

static int by_file_and_off(const void *a, const void *b)
{
	const struct io_req *x = *(struct io_req *const *)a, *y = *(struct io_req *const *)b;

	/* By inode: the order of addresses changes from one process to the next, and a seed's play
	 * with it. */
	if (x->file->ino != y->file->ino)
		return x->file->ino < y->file->ino ? -1 : 1;
	if (x->file != y->file) /* of different file systems */
		return x->file->dev < y->file->dev ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

/* Sorts the reads by file and offset, so that a hard disk seeks once a file and run. */
static void submit_reads(struct copy_run *p)
{
	/* Where a guest waits for this run, no time is lost by a hand-over to another thread. */
	bool offload = engine_guest_is_active(p->op.engine) && !p->read.readers.first;
	struct io_req **order = p->read.n_reqs > 1 ? calloc(p->read.n_reqs, sizeof(*order)) : NULL;

	for (unsigned i = 0; i < p->read.n_reqs; i++) {
		p->reqs[i].offload = offload;
		if (order)
			order[i] = &p->reqs[i];
	}
	if (order)
		qsort(order, p->read.n_reqs, sizeof(*order), by_file_and_off);
	for (unsigned i = 0; i < p->read.n_reqs; i++)
		/* Without memory for sorting they are submitted in guest order. */
		op_submit(&p->op, order ? order[i] : &p->reqs[i]);
	free(order);
}

static void note_source(struct copy_run *p)
{
	for (unsigned i = 0; p->kind == RUN_ON_READ && i < p->read.n_reqs; i++)
		p->read.is_of_source |= p->reqs[i].file->is_source;
}

/* The run reads from sources alone, and the guest needs none: it notices nothing of the run before
 * the bytes are there. */
static bool waits_for_sources(const struct copy_run *p)
{
	for (unsigned i = 0; i < p->read.n_reqs; i++)
		if (!p->reqs[i].file->is_source)
			return false;
	return p->read.n_reqs && p->kind != RUN_ON_READ &&
	       !engine_guest_needs_sources(p->op.engine);
}

enum step copy_run_read(struct copy_run *p)
{
	unsigned n_ranges;
	int rc;

	p->phase = COPY_RUN_DECODE;
	copy_run_free_requests(p); /* the last piece's */
	p->read.begun_ns = p->read.begun_ns ? p->read.begun_ns : engine_now_ns();
	n_ranges = shared_read_begin(p);
	p->reqs = calloc(p->plan.n_parts + n_ranges, sizeof(*p->reqs));
	rc = p->reqs ? prepare_decodes(p) : -ENOMEM;
	if (rc) {
		op_set_error(&p->op, rc, NULL, 0, true);
		return STEP_NEXT;
	}
	describe_reads(p);
	note_source(p);
	requests_note_reads(p, p->read.n_reqs);
	if (waits_for_sources(p))
		run_waits(p);
	submit_reads(p);
	return p->read.n_reqs ? STEP_WAIT : STEP_NEXT;
}

/* A file that ends inside a cluster reads as zeros from there on. */
static void pad_reads(struct copy_run *p)
{
	for (unsigned i = 0; i < p->read.n_reqs; i++) {
		const struct io_req *req = &p->reqs[i];
		uint64_t got = (uint64_t)req->result;

		memset((uint8_t *)req->one.iov_base + got, 0, req->len - got);
	}
	p->read.n_reqs = 0;
}

/* Runs on a worker. Decodes the cluster once, straight into the run's buffer where the run wants
 * all of it in one part. */
static int decode_work(struct io_req *req)
{
	struct decode *d = (struct decode *)req;
	const struct plan_part *parts = d->run->plan.parts, *part = &parts[d->part];
	uint8_t *cluster;
	int rc;

	if (!part->same && part->len == d->layer->cluster_len)
		return layer_decode(d->layer, d->in, d->in_len, d->run->buf + part->buf_off);
	cluster = malloc(d->layer->cluster_len);
	if (!cluster)
		return -ENOMEM;
	rc = layer_decode(d->layer, d->in, d->in_len, cluster);
	for (; !rc; part = &parts[part->same]) {
		memcpy(d->run->buf + part->buf_off, cluster + part->skip, part->len);
		if (!part->same)
			break;
	}
	free(cluster);
	return rc;
}

enum step copy_run_decode(struct copy_run *p)
{
	run_goes_on(p);
	for (unsigned i = 0; i < p->read.n_reqs; i++)
		job_note_back(p->op.disk, p->reqs[i].file);
	if (p->kind != RUN_ON_READ) {
		p->walk->counts.source += p->plan.data_len - shared_read_fed_len(p);
		p->walk->counts.past_cache += cold_passed_len(p);
	}
	pad_reads(p);
	p->phase = p->read.shared.n ? COPY_RUN_SHARE : copy_run_after_read(p);
	for (unsigned i = 0; i < p->read.n_decodes; i++) {
		struct decode *d = &p->read.decodes[i];

		io_req_work(&d->req, decode_work);
		d->req.file = d->layer->file;
		d->req.off = d->host_off;
		op_submit(&p->op, &d->req);
	}
	return p->read.n_decodes ? STEP_WAIT : STEP_NEXT;
}
