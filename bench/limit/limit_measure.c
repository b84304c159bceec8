/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The thread that owns the engine runs it and nothing else; another asks each
 * job every millisecond how much it has copied, which any thread may. Asking from
 * the engine's own loop was rejected: it would see the bytes only when the engine
 * has time, which is what is to be judged.
 */
#include "bench/limit/limit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/rig/complain.h"
#include "bench/rig/ends.h"
#include "bench/rig/scene.h"
#include "bench/rig/timed.h"
#include "tools/words/exit_code.h"

#define N_SAMPLES    (1u << 18)
#define SAMPLE_NS    1000000
#define CLUSTER_SIZE 65536

struct jobs {
	struct limit_run *run;
	struct bpull_engine *engine;
	struct bpull_disk *disks[LIMIT_MAX_JOBS];
	bool stop; /* atomic: the sampler ends */
};

int limit_run_init(struct limit_run *run, unsigned n_jobs)
{
	*run = (struct limit_run){ .n_jobs = n_jobs };
	for (unsigned i = 0; i <= n_jobs; i++)
		if (!(run->series[i] = series_new(N_SAMPLES)))
			return EXIT_CODE_FAILED;
	return 0;
}

static void limit_measure_image_name(char name[16], unsigned i)
{
	snprintf(name, 16, "image%u", i);
}

static void limit_measure_sample(struct jobs *jobs)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	uint64_t total = 0, now_ns = 0;

	for (unsigned i = 0; i < jobs->run->n_jobs; i++) {
		bpull_job_get_info(jobs->disks[i], &info);
		now_ns = timed_now_ns();
		series_add(jobs->run->series[1 + i], now_ns, info.copied_bytes + info.cloned_bytes);
		total += info.copied_bytes + info.cloned_bytes;
	}
	series_add(jobs->run->series[0], now_ns, total);
}

static void *limit_measure_run_sampler(void *opaque)
{
	struct jobs *jobs = opaque;
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!__atomic_load_n(&jobs->stop, __ATOMIC_ACQUIRE)) {
		next.tv_nsec += SAMPLE_NS;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		limit_measure_sample(jobs);
	}
	return NULL;
}

static int limit_measure_open_jobs(struct jobs *jobs)
{
	struct limit_run *run = jobs->run;
	struct bpull_engine_options eo = { .size = sizeof(eo) };
	struct bpull_disk_options options = scene_disk_options(BPULL_FORMAT_QCOW2, 0);
	struct bpull_error error = { 0 };
	struct stat base;
	int code = stat("base", &base) ? complain_system("base") : 0;
	int rc;

	eo.bandwidth = run->n_jobs > 1 ? run->rate : 0;
	eo.budget = run->budget;
	eo.budget_opaque = run->budget_opaque;
	rc = code ? 0 : bpull_engine_open(&eo, &jobs->engine, &error);
	for (unsigned i = 0; i < run->n_jobs && !rc && !code; i++) {
		char name[16];

		limit_measure_image_name(name, run->first + i);
		unlink(name);
		code = scene_overlay(name, BPULL_FORMAT_QCOW2, base.st_size, CLUSTER_SIZE, "base",
				     BPULL_FORMAT_RAW);
		if (!code)
			rc = bpull_disk_open(jobs->engine, name, &options, &jobs->disks[i], &error);
	}
	return rc ? complain_library("pull", &error, rc) : code;
}

static int limit_measure_start_jobs(struct jobs *jobs)
{
	struct bpull_job_options o = { .size = sizeof(o) };
	uint64_t now_ns = timed_now_ns();
	struct bpull_error error = { 0 };
	int rc = 0;

	o.bandwidth = jobs->run->n_jobs > 1 ? 0 : jobs->run->rate;
	for (unsigned i = 0; i <= jobs->run->n_jobs; i++)
		series_begin(jobs->run->series[i], now_ns);
	for (unsigned i = 0; i < jobs->run->n_jobs && !rc; i++)
		rc = bpull_job_start(jobs->disks[i], &o, &error);
	return rc ? complain_library("pull", &error, rc) : 0;
}

/* Runs the engine until the time is over or the first job is. */
static int limit_measure_run_jobs(struct jobs *jobs)
{
	uint64_t until_ns = jobs->run->series[0]->begin_ns + jobs->run->seconds * 1000000000;

	bool is_over = false;
	int code = 0;

	while (!code && !is_over && timed_now_ns() < until_ns) {
		uint64_t left_ms = (until_ns - timed_now_ns()) / 1000000 + 1;

		code = ends_of_job(jobs->engine, "pull", (int)left_ms, &is_over);
	}
	jobs->run->ended_early = is_over;
	return code;
}

int limit_measure(struct limit_run *run)
{
	struct jobs jobs = { .run = run };
	pthread_t sampler;
	int code = limit_measure_open_jobs(&jobs);

	run->ended_early = false;
	if (!code && run->ready)
		run->ready(run->opaque);
	if (!code)
		code = limit_measure_start_jobs(&jobs);
	if (!code && pthread_create(&sampler, NULL, limit_measure_run_sampler, &jobs))
		code = complain(EXIT_CODE_FAILED, "a thread could not be started");
	else if (!code) {
		code = limit_measure_run_jobs(&jobs);
		__atomic_store_n(&jobs.stop, true, __ATOMIC_RELEASE);
		pthread_join(sampler, NULL);
	}
	for (unsigned i = 0; i < run->n_jobs; i++) {
		char name[16];

		limit_measure_image_name(name, run->first + i);
		bpull_disk_close(jobs.disks[i]);
		unlink(name);
	}
	bpull_engine_close(jobs.engine);
	return code;
}
