/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pulls an image whose base is behind a network, by libblockpull-nbd, as the smallest program does:
 *
 *     nbd_pull_driver IMAGE [read=OFF] [verify=1] [broker=1] [allow=PATTERN] [map=NAME=TARGET]
 *                     [remote=S] [guest=S] [request=S]
 *
 * prints its events and the ends of guests' reads, one a line, and at last "end STATUS": that of
 * the job. With read=OFF a guest reads 4 KiB there beside the job each 100 ms.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/blockpull.h"
#include "tools/nbd/blockpull-nbd.h"

#define LIST 8

static const char *const statuses[] = { "completed", "failed", "canceled", "ready" };

static struct {
	const char *allow[LIST], *map[LIST];
	struct bpull_nbd_options nbd;
	long long read_off; /* -1: no guest */
	int verify, broker;
	char guest_buf[4096];
	int guest_asks;
	uint64_t next_ms; /* when the guest reads again */
} driver = { .nbd.size = sizeof(driver.nbd), .read_off = -1 };

static void die(const char *what, const struct bpull_error *error)
{
	printf("%s %d %s\n", what, error->code, error->message);
	exit(1);
}

static const char *value_of(const char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static void take_option(const char *word)
{
	const char *value;

	if ((value = value_of(word, "allow")))
		driver.allow[driver.nbd.n_allow++] = value;
	else if ((value = value_of(word, "map")))
		driver.map[driver.nbd.n_map++] = value;
	else if ((value = value_of(word, "remote")))
		driver.nbd.remote_timeout_s = atoi(value);
	else if ((value = value_of(word, "guest")))
		driver.nbd.guest_timeout_s = atoi(value);
	else if ((value = value_of(word, "request")))
		driver.nbd.request_timeout_s = atoi(value);
	else if ((value = value_of(word, "read")))
		driver.read_off = atoll(value);
	else if ((value = value_of(word, "verify")))
		driver.verify = atoi(value);
	else if ((value = value_of(word, "broker")))
		driver.broker = atoi(value);
	else
		exit(2);
}

/* True: the job is over. */
static int take_event(const struct bpull_event *event)
{
	switch (event->type) {
	case BPULL_EVENT_IO:
		driver.guest_asks = 0;
		printf("guest %d\n", event->error);
		return 0;
	case BPULL_EVENT_JOB_STOPPED:
		printf("stopped %d %s\n", event->error, event->message);
		return 0;
	case BPULL_EVENT_JOB_RESUMED: printf("resumed\n"); return 0;
	case BPULL_EVENT_JOB:
		printf("end %s %d %s\n", statuses[event->status], event->error, event->message);
		return 1;
	case BPULL_EVENT_JOB_IGNORED:
	default: return 0;
	}
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static void run(struct bpull_engine *engine, struct bpull_disk *disk)
{
	struct bpull_event events[8];
	struct iovec iov = { driver.guest_buf, sizeof(driver.guest_buf) };
	int over = 0;

	while (!over) {
		int n;

		if (driver.read_off >= 0 && !driver.guest_asks && now_ms() >= driver.next_ms) {
			driver.guest_asks = 1;
			driver.next_ms = now_ms() + 100;
			bpull_read(disk, &iov, 1, driver.read_off, NULL);
		}
		n = bpull_engine_wait(engine, events, 8, 100);
		for (int i = 0; i < n; i++)
			over |= take_event(&events[i]);
	}
}

int main(int argc, char **argv)
{
	struct bpull_disk_options options = { .size = sizeof(options),
					      .find_base = bpull_nbd_find_base };
	struct bpull_job_options job = { .size = sizeof(job) };
	struct bpull_error error = { 0 };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_nbd *nbd = NULL;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 2; i < argc; i++)
		take_option(argv[i]);
	driver.nbd.allow = driver.allow;
	driver.nbd.map = driver.map;
	if (bpull_nbd_open(&driver.nbd, &nbd, &error) != 0)
		die("nbd", &error);
	if (driver.broker && bpull_nbd_start_broker(nbd, &error) != 0)
		die("broker", &error);
	if (bpull_engine_open(NULL, &engine, &error) != 0)
		die("engine", &error);
	options.find_opaque = nbd;
	if (driver.read_off >= 0)
		options.flags = BPULL_DISK_GUEST_IO;
	if (argc < 2 || bpull_disk_open(engine, argv[1], &options, &disk, &error) != 0)
		die("open", &error);
	bpull_nbd_seal(nbd);
	job.flags = driver.verify ? BPULL_JOB_VERIFY : 0;
	if (bpull_job_start(disk, &job, &error) != 0)
		die("start", &error);
	printf("begun\n");
	run(engine, disk);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	bpull_nbd_close(nbd);
	return 0;
}
