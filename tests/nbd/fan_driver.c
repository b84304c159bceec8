/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pulls many images, whose bases are behind a network, in one engine, and aborts one of them:
 *
 *     nbd_fan_driver PATTERN ABORTED IMAGE...
 *
 * PATTERN is what names may lead to. The image of that index, from 0, is aborted when 4 MiB of it
 * are copied. Prints as each job ends "INDEX STATUS SOURCE_BYTES SHARED_BYTES MILLISECONDS".
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/blockpull.h"
#include "tools/nbd/blockpull-nbd.h"

#define ABORT_AT  (UINT64_C(4) << 20)
#define MAX_DISKS 256

static struct bpull_disk *disks[MAX_DISKS];

static void die(const char *what, const struct bpull_error *error)
{
	printf("%s %d %s\n", what, error->code, error->message);
	exit(1);
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static struct bpull_job_info info_of(struct bpull_disk *disk)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(disk, &info);
	return info;
}

static void print_end(const struct bpull_event *event, long long ms)
{
	static const char *const statuses[] = { "completed", "failed", "canceled", "ready" };
	struct bpull_job_info info = info_of(event->disk);
	int i = 0;

	while (disks[i] != event->disk)
		i++;
	printf("%d %s %llu %llu %lld\n", i, statuses[event->status],
	       (unsigned long long)info.source_bytes, (unsigned long long)info.shared_bytes, ms);
}

/* Until all jobs are over. */
static void run(struct bpull_engine *engine, int n, struct bpull_disk *aborted)
{
	long long begin_ms = now_ms();
	struct bpull_event events[16];
	int is_aborted = 0;

	while (n) {
		int n_events = bpull_engine_wait(engine, events, 16, 20);

		for (int i = 0; i < n_events; i++) {
			if (events[i].type != BPULL_EVENT_JOB)
				continue;
			print_end(&events[i], now_ms() - begin_ms);
			n--;
		}
		if (is_aborted || info_of(aborted).copied_bytes < ABORT_AT)
			continue;
		is_aborted = 1;
		bpull_job_abort(aborted);
	}
}

int main(int argc, char **argv)
{
	struct bpull_disk_options options = { .size = sizeof(options),
					      .find_base = bpull_nbd_find_base };
	struct bpull_nbd_options nbd_options = { .size = sizeof(nbd_options), .n_allow = 1 };
	struct bpull_job_options job = { .size = sizeof(job) };
	struct bpull_error error = { 0 };
	struct bpull_engine *engine = NULL;
	struct bpull_nbd *nbd = NULL;
	int n = argc - 3;

	if (n < 1 || n > MAX_DISKS || atoi(argv[2]) < 0 || atoi(argv[2]) >= n)
		return 2;
	nbd_options.allow = (const char *const *)&argv[1];
	if (bpull_nbd_open(&nbd_options, &nbd, &error) != 0)
		die("nbd", &error);
	if (bpull_engine_open(NULL, &engine, &error) != 0)
		die("engine", &error);
	options.find_opaque = nbd;
	for (int i = 0; i < n; i++)
		if (bpull_disk_open(engine, argv[3 + i], &options, &disks[i], &error) != 0)
			die("open", &error);
	bpull_nbd_seal(nbd);
	for (int i = 0; i < n; i++)
		if (bpull_job_start(disks[i], &job, &error) != 0)
			die("start", &error);
	run(engine, n, disks[atoi(argv[2])]);
	for (int i = 0; i < n; i++)
		bpull_disk_close(disks[i]);
	bpull_engine_close(engine);
	bpull_nbd_close(nbd);
	return 0;
}
