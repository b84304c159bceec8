/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The image: [0, area_len) is the overlay's own (alloc: no file's), what lies
 * behind is the base's. So requests and pull share the file, the engine and the
 * device, but never a cluster, and raw io_uring can be put on the same bytes.
 *
 * One thread owns the engine, submits, and waits in bpull_engine_wait(), as the
 * raw side waits in io_uring: a thread of the engine's own would measure two
 * context switches instead.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/guest.h"
#include "bench/rig/complain.h"
#include "bench/rig/place.h"
#include "bench/rig/scene.h"
#include "bench/rig/timed.h"
#include "tools/words/exit_code.h"

#define SLICE_NS     UINT64_C(250000000)
#define CLUSTER_SIZE 65536
#define MAX_EVENTS   64
#define MAX_EXTENTS  65536
#define FILL_LEN     (1u << 20)

struct slot {
	uint64_t begin_ns;
	struct iovec iov;
};

struct rig {
	const struct guest_bench *b;
	struct guest_result *result;
	struct load load, raw_load;
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	struct raw_ring *raw;
	struct bpull_extent *extents;
	unsigned n_extents;
	struct slot slots[LOAD_MAX_DEPTH];
	unsigned n_busy;
	bool job_runs;
	enum bpull_job_status job_status;
	char job_message[256];
};

uint64_t guest_room(const struct guest_bench *b)
{
	/* The image, alloc's plain file, the base and what is pulled of it, tables. */
	return b->area_len * (b->kind == LOAD_ALLOC ? 2 : 1) + 2 * b->data_len +
	       b->area_len / 1024 + (64 << 20);
}

/* ---- the files ---- */

static int guest_measure_fill_area(const struct guest_bench *b, struct bpull_disk *disk)
{
	char *buf = malloc(FILL_LEN);
	int rc = buf ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < b->area_len && !rc; at += FILL_LEN) {
		scene_content(buf, FILL_LEN, at);
		rc = bpull_pwrite(disk, buf, FILL_LEN, at, 0);
	}
	if (!rc)
		rc = bpull_pflush(disk);
	free(buf);
	return rc;
}

static int guest_measure_make_files(const struct guest_bench *b)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options options = scene_disk_options(b->format, BPULL_DISK_GUEST_IO);
	uint64_t len = b->area_len + b->data_len;
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	int code = b->with_pull ? scene_raw("base", len, b->area_len, b->data_len) : 0;
	int rc;

	if (!code)
		code = scene_overlay("image", b->format, len, CLUSTER_SIZE,
				     b->with_pull ? "base" : NULL, BPULL_FORMAT_RAW);
	if (!code && b->kind == LOAD_ALLOC)
		code = scene_raw("plain", len, 0, 0);
	if (code || b->kind == LOAD_ALLOC)
		return code;
	rc = bpull_engine_open(&eo, &engine, &error);
	if (!rc)
		rc = bpull_disk_open(engine, "image", &options, &disk, &error);
	if (!rc)
		rc = guest_measure_fill_area(b, disk);
	if (rc)
		code = complain_library("image", &error, rc);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return code;
}

/* Where in the file the area lies, as raw_ring.c wants to know it. */
static int guest_measure_map_area(struct rig *rig)
{
	struct bpull_error error = { 0 };
	uint64_t at = 0;
	int n;

	rig->extents = calloc(MAX_EXTENTS, sizeof(rig->extents[0]));
	if (!rig->extents)
		return complain_system("memory");
	n = bpull_disk_map(rig->disk, 0, rig->extents, MAX_EXTENTS, &error);
	for (int i = 0; i < n && at < rig->b->area_len; i++) {
		const struct bpull_extent *e = &rig->extents[i];

		if (e->start != at || !e->has_offset || !e->data || e->depth)
			break;
		at += e->length;
		rig->n_extents++;
	}
	if (n < 0)
		return complain_library("image", &error, n);
	return at >= rig->b->area_len
		       ? 0
		       : complain(EXIT_CODE_FAILED, "the image made is not where it should be");
}

/* ---- the library's side ---- */

static int guest_measure_put(struct rig *rig, struct slot *slot)
{
	uint64_t guest_off = load_next(&rig->load);

	if (guest_off == LOAD_END)
		return 0;
	slot->begin_ns = timed_now_ns();
	if (rig->load.kind == LOAD_READ)
		bpull_read(rig->disk, &slot->iov, 1, guest_off, slot);
	else
		bpull_write(rig->disk, &slot->iov, 1, guest_off, 0, slot);
	return 1;
}

static void guest_measure_note_job(struct rig *rig, const struct bpull_event *event)
{
	rig->job_runs = false;
	rig->job_status = event->status;
	snprintf(rig->job_message, sizeof(rig->job_message), "%s", event->message);
}

/* Keeps the load's depth in flight until until_ns, or, with a job, until that is over. */
static int guest_measure_slice(struct rig *rig, uint64_t until_ns, enum guest_phase phase)
{
	struct histogram *h = &rig->result->histograms[phase];
	struct bpull_event events[MAX_EVENTS];
	bool needs_job = rig->job_runs;

	for (unsigned i = 0; i < rig->load.depth; i++)
		rig->n_busy += guest_measure_put(rig, &rig->slots[i]);
	while (rig->n_busy) {
		int n = bpull_engine_wait(rig->engine, events, MAX_EVENTS, -1);
		uint64_t now_ns;

		if (n < 0)
			return n;
		now_ns = timed_now_ns();
		for (int i = 0; i < n; i++) {
			struct slot *slot = events[i].user_data;

			if (events[i].type == BPULL_EVENT_JOB)
				guest_measure_note_job(rig, &events[i]);
			if (events[i].type != BPULL_EVENT_IO)
				continue;
			if (events[i].error)
				return events[i].error;
			histogram_add(h, now_ns - slot->begin_ns);
			rig->n_busy--;
			if (now_ns < until_ns && (!needs_job || rig->job_runs))
				rig->n_busy += guest_measure_put(rig, slot);
		}
	}
	return 0;
}

static int guest_measure_library_slice(struct rig *rig, uint64_t len_ns, enum guest_phase phase,
				       double *iops)
{
	uint64_t begin_ns = timed_now_ns(), n_before = rig->result->histograms[phase].n;
	int rc = guest_measure_slice(rig, begin_ns + len_ns, phase);
	uint64_t busy_ns = timed_now_ns() - begin_ns;

	rig->result->busy_ns[phase] += busy_ns;
	*iops = (rig->result->histograms[phase].n - n_before) * 1e9 / busy_ns;
	return rc ? complain(EXIT_CODE_FAILED, "guest request: %s", strerror(-rc)) : 0;
}

static int guest_measure_raw_slice(struct rig *rig, uint64_t len_ns, double *iops)
{
	uint64_t begin_ns = timed_now_ns(), n_done = 0;
	int rc = rig->raw ? raw_ring_slice(rig->raw, &rig->raw_load, begin_ns + len_ns,
					   &rig->result->histograms[GUEST_RAW], &n_done)
			  : 0;
	uint64_t busy_ns = timed_now_ns() - begin_ns;

	rig->result->busy_ns[GUEST_RAW] += busy_ns;
	*iops = n_done * 1e9 / busy_ns;
	return rc ? complain(EXIT_CODE_FAILED, "raw io_uring: %s", strerror(-rc)) : 0;
}

/* ---- phases ---- */

static int guest_measure_pairs(struct rig *rig)
{
	struct guest_result *r = rig->result;
	uint64_t n_pairs = rig->b->seconds * 1000000000 / SLICE_NS;
	double library = 0, raw = 0;
	int code = 0;

	for (uint64_t i = 0; i < n_pairs && !code; i++) {
		if (i % 2)
			code = guest_measure_raw_slice(rig, SLICE_NS, &raw);
		if (!code)
			code = guest_measure_library_slice(rig, SLICE_NS, GUEST_ALONE, &library);
		if (!code && !(i % 2))
			code = guest_measure_raw_slice(rig, SLICE_NS, &raw);
		/* Clusters may run out in the middle of a pair: that is none. */
		if (load_is_over(&rig->load) || load_is_over(&rig->raw_load))
			break;
		if (!code && rig->raw)
			r->ratios[r->n_pairs++] = library / raw;
	}
	if (!r->n_pairs && !code && !r->no_raw[0])
		snprintf(r->no_raw, sizeof(r->no_raw),
			 "the clusters were used up too soon: a larger --size is needed");
	return code;
}

static int guest_measure_with_pull(struct rig *rig)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_error error = { 0 };
	struct bpull_event event;
	double iops;
	int rc = bpull_job_start(rig->disk, NULL, &error);
	int code;

	if (rc)
		return complain_library("pull", &error, rc);
	rig->job_runs = true;
	rig->load.alloc_len = rig->b->area_len;
	code = guest_measure_library_slice(rig, rig->b->seconds * 1000000000, GUEST_WITH_PULL,
					   &iops);
	rig->result->pull_over = !rig->job_runs && rig->job_status == BPULL_JOB_COMPLETED;
	bpull_job_abort(rig->disk);
	while (!code && rig->job_runs)
		if (bpull_engine_wait(rig->engine, &event, 1, -1) == 1 &&
		    event.type == BPULL_EVENT_JOB)
			guest_measure_note_job(rig, &event);
	bpull_job_get_info(rig->disk, &info);
	rig->result->pulled_len = info.copied_bytes + info.cloned_bytes;
	if (!code && rig->job_status == BPULL_JOB_FAILED)
		code = complain(EXIT_CODE_FAILED, "pull: %s", rig->job_message);
	return code;
}

static int guest_measure_open_raw(struct rig *rig)
{
	bool alloc = rig->b->kind == LOAD_ALLOC;
	int rc = raw_ring_open(alloc ? "plain" : "image", alloc ? NULL : rig->extents,
			       rig->n_extents, rig->b->depth, &rig->raw);

	/* Where a sandbox forbids io_uring the library has threads; there is nothing to compare. */
	if (rc == -EPERM || rc == -ENOSYS || rc == -ENOMEM) {
		snprintf(rig->result->no_raw, sizeof(rig->result->no_raw),
			 "io_uring is not to be had here: %s", strerror(-rc));
		return 0;
	}
	return rc ? complain(EXIT_CODE_FAILED, "raw io_uring: %s", strerror(-rc)) : 0;
}

static int guest_measure_open_rig(struct rig *rig)
{
	struct bpull_disk_options options = scene_disk_options(rig->b->format, BPULL_DISK_GUEST_IO);
	struct bpull_error error = { 0 };
	int rc = bpull_engine_open(NULL, &rig->engine, &error);
	int code;

	if (!rc)
		rc = bpull_disk_open(rig->engine, "image", &options, &rig->disk, &error);
	if (rc)
		return complain_library("image", &error, rc);
	rig->load = (struct load){
		.kind = rig->b->kind,
		.depth = rig->b->depth,
		.area_len = rig->b->area_len,
		/* Some are kept for the second phase. */
		.alloc_len = rig->b->area_len / (rig->b->with_pull ? 2 : 1),
		.cluster_size = CLUSTER_SIZE,
		.state = rig->b->kind == LOAD_ALLOC ? 0 : UINT64_C(0x2545f4914f6cdd1d),
	};
	rig->raw_load = rig->load;
	rc = load_buffers(&rig->load);
	if (!rc)
		rc = load_buffers(&rig->raw_load);
	if (rc)
		return complain_library("buffers", NULL, rc);
	for (unsigned i = 0; i < rig->b->depth; i++)
		rig->slots[i].iov =
			(struct iovec){ rig->load.bufs + (size_t)i * LOAD_LEN, LOAD_LEN };
	code = rig->b->kind == LOAD_ALLOC ? 0 : guest_measure_map_area(rig);
	return code ? code : guest_measure_open_raw(rig);
}

int guest_measure(const struct guest_bench *b, struct guest_result *result)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	int code = rig ? guest_measure_make_files(b) : complain_system("memory");

	if (!code) {
		rig->b = b;
		rig->result = result;
		sync();
		place_touch_memory(b->data_len + (256 << 20));
		code = guest_measure_open_rig(rig);
	}
	if (!code)
		code = guest_measure_pairs(rig);
	if (!code && b->with_pull)
		code = guest_measure_with_pull(rig);
	if (rig) {
		raw_ring_close(rig->raw);
		bpull_disk_close(rig->disk);
		bpull_engine_close(rig->engine);
		free(rig->load.bufs);
		free(rig->raw_load.bufs);
		free(rig->extents);
	}
	free(rig);
	return code;
}
