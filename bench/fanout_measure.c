/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Each way runs in a process of its own. What it counts it leaves in shared memory, to which the
 * processes that it starts add theirs.
 */
#include "bench/fanout.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/rig/complain.h"
#include "bench/rig/ends.h"
#include "bench/rig/place.h"
#include "bench/rig/scene.h"
#include "bench/rig/slow_base.h"
#include "tools/words/exit_code.h"

#define CLUSTER_SIZE 65536

/* Shared. */
struct fanout_counts {
	_Atomic uint64_t read_len, n_reads, first_end_ns;
};

struct fanout_work {
	const struct fanout *f;
	enum fanout_way way;
	uint64_t from, to; /* its images */
	struct fanout_counts *counts;
};

static void fanout_image_name(char name[16], uint64_t i)
{
	snprintf(name, 16, "image%u", (unsigned)i);
}

static struct scene fanout_scene(const struct fanout *f)
{
	return (struct scene){ .pattern = SCENE_DENSE,
			       .format = f->format,
			       .size = f->data_len,
			       .data_len = f->data_len,
			       .cluster_size = CLUSTER_SIZE };
}

int fanout_make(const struct fanout *f)
{
	return scene_raw("base", f->data_len, 0, f->data_len);
}

static void fanout_note_end(struct fanout_counts *counts)
{
	uint64_t none = 0;

	atomic_compare_exchange_strong(&counts->first_end_ns, &none, timed_now_ns());
}

/* ---- pulls ---- */

struct fanout_pulls {
	struct bpull_engine *engine;
	struct bpull_disk *disks[FANOUT_MAX_IMAGES];
	uint64_t n;
};

static int fanout_start(const struct fanout_work *w, struct slow_base *base, struct fanout_pulls *p)
{
	struct bpull_disk_options o = scene_disk_options(w->f->format, 0);
	struct bpull_job_options job = { .size = sizeof(job) };
	struct bpull_error error = { 0 };
	int rc = bpull_engine_open(NULL, &p->engine, &error);

	o.flags |= base ? 0 : BPULL_DISK_DIRECT;
	o.backing_format = BPULL_FORMAT_RAW;
	o.find_base = base ? slow_base_find : NULL;
	o.find_opaque = base;
	for (uint64_t i = w->from; i < w->to && !rc; i++) {
		char name[16];

		fanout_image_name(name, i);
		rc = bpull_disk_open(p->engine, name, &o, &p->disks[p->n], &error);
		if (!rc)
			rc = bpull_job_start(p->disks[p->n++], &job, &error);
	}
	return rc ? complain_library("pull", &error, rc) : 0;
}

static int fanout_wait(const struct fanout_work *w, struct fanout_pulls *p)
{
	for (uint64_t n_done = 0; n_done < p->n; n_done++) {
		int code = ends_wait_job(p->engine, "pull");

		if (code)
			return code;
		fanout_note_end(w->counts);
	}
	return 0;
}

static void fanout_count_source(const struct fanout_work *w, const struct fanout_pulls *p)
{
	for (uint64_t i = 0; i < p->n; i++) {
		struct bpull_job_info info = { .size = sizeof(info) };

		bpull_job_get_info(p->disks[i], &info);
		atomic_fetch_add(&w->counts->read_len, info.source_bytes);
	}
}

static int fanout_pull(const struct fanout_work *w)
{
	struct fanout_pulls p = { 0 };
	struct slow_base *base = NULL;
	int code;

	if (w->way != FANOUT_DIRECT) {
		base = slow_base_open("base", w->f->data_len, w->f->delay_ns);
		if (!base)
			return complain_system("base");
	}
	code = fanout_start(w, base, &p);
	if (!code)
		code = fanout_wait(w, &p);
	if (!base)
		fanout_count_source(w, &p);
	bpull_engine_close(p.engine);
	if (base) {
		atomic_fetch_add(&w->counts->read_len, slow_base_read_len(base));
		atomic_fetch_add(&w->counts->n_reads, slow_base_reads(base));
		slow_base_close(base);
	}
	return code;
}

/* ---- processes ---- */

static int fanout_copy(const struct fanout_work *w)
{
	char name[16];
	struct copies_job job = { .method = w->f->copies, .from = "base", .to = name };
	int code;

	fanout_image_name(name, w->from);
	code = ends_copy(&job);
	if (code)
		return code;
	atomic_fetch_add(&w->counts->read_len, w->f->data_len);
	fanout_note_end(w->counts);
	return 0;
}

static int fanout_reap(void)
{
	int status = 0;

	while (wait(&status) < 0)
		if (errno != EINTR)
			return complain_system("wait");
	if (WIFSIGNALED(status))
		return complain(EXIT_CODE_FAILED, "a measured run was ended by signal %d",
				WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* One for each image, a few at a time: all at once would measure the want of memory. */
static int fanout_in_processes(const struct fanout_work *w,
			       int (*work)(const struct fanout_work *w))
{
	uint64_t n_running = 0;
	int code = 0;

	for (uint64_t i = w->from; i < w->to && !code; i++) {
		struct fanout_work one = *w;
		pid_t child;

		if (n_running == FANOUT_AT_ONCE) {
			code = fanout_reap();
			n_running--;
		}
		one.from = i;
		one.to = i + 1;
		child = code ? 0 : fork();
		if (child < 0)
			code = complain_system("fork");
		else if (!child && !code)
			_exit(work(&one));
		n_running += !code;
	}
	for (; n_running; n_running--) {
		int other = fanout_reap();

		code = code ? code : other;
	}
	return code;
}

/* ---- a run ---- */

/* Two descriptors for each image. */
static void fanout_allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int fanout_work(void *opaque)
{
	const struct fanout_work *w = opaque;

	fanout_allow_files();
	if (w->way == FANOUT_COPIES)
		return fanout_in_processes(w, fanout_copy);
	return w->way == FANOUT_APART ? fanout_in_processes(w, fanout_pull) : fanout_pull(w);
}

static int fanout_make_overlays(const struct fanout *f, enum fanout_way way)
{
	int code = 0;

	for (uint64_t i = 0; i < f->n_images && !code; i++) {
		char name[16];

		fanout_image_name(name, i);
		unlink(name);
		if (way != FANOUT_COPIES)
			code = scene_overlay(name, f->format, f->data_len, CLUSTER_SIZE, "base",
					     BPULL_FORMAT_RAW);
	}
	return code;
}

int fanout_run(const struct fanout *f, enum fanout_way way, struct fanout_cost *cost)
{
	struct fanout_counts *counts = timed_shared(sizeof(*counts));
	struct fanout_work w = { .f = f, .way = way, .to = f->n_images, .counts = counts };
	uint64_t begin_ns;
	int code = counts ? fanout_make_overlays(f, way) : EXIT_CODE_FAILED;

	if (!code)
		code = scene_warm();
	if (code)
		return code;
	sync();
	place_touch_memory(f->n_images * f->data_len + (64 << 20));
	begin_ns = timed_now_ns();
	code = timed_run(fanout_work, &w, NULL, &cost->timed);
	cost->read_len = atomic_load(&counts->read_len);
	cost->n_reads = atomic_load(&counts->n_reads);
	cost->first_end_ns = atomic_load(&counts->first_end_ns) - begin_ns;
	return code;
}

int fanout_judge(const struct fanout *f, enum fanout_way way)
{
	struct scene scene = fanout_scene(f);
	int code = 0;

	for (uint64_t i = 0; i < f->n_images && !code && way != FANOUT_COPIES; i++) {
		char name[16];

		fanout_image_name(name, i);
		code = scene_judge(&scene, name);
	}
	return code;
}
