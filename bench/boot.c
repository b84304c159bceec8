/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench boot: what a machine asks for when it boots, over a base that is far
 * away; then the same on other overlays, of which a pull has brought that first, or is at it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "bench/commands.h"
#include "bench/rig/complain.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "bench/rig/scene.h"
#include "bench/rig/slow_base.h"
#include "bench/rig/timed.h"
#include "tools/trace/file.h"
#include "tools/words/exit_code.h"

#define BLOCK      UINT64_C(65536)
#define MIN_DISK   (UINT64_C(64) << 20)
#define MAX_DISK   (UINT64_C(64) << 30)
#define N_PLACES   12 /* of a boot that is made up: files, say */
#define N_REQUESTS 400
#define LOOK_NS    1000000

const char boot_help[] =
	"Usage: blockpull-bench boot [OPTION...]\n"
	"\n"
	"Reads from a disk whose base takes its time for each answer, one request after the "
	"other,\n"
	"as a machine does that boots. Then the same on a second disk, for which a pull has "
	"copied\n"
	"first what is read; and on others while a pull runs, with and without that order.\n"
	"How many reads go to the base for the machine, and how long does it take?\n"
	"\n"
	"Options:\n"
	"  --trace FILE       what is read: a trace, as blockpull serve --trace records it\n"
	"                     (default: 400 reads of 4 to 64 KiB in 12 places, made up)\n"
	"  --delay MS         what each answer of the base takes, 1 to 1000 (default: 20)\n"
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"
	"  --json             as JSON\n"
	"  -h, --help         this text\n";

enum {
	OPT_TRACE = 256,
	OPT_DELAY,
	OPT_DIR,
	OPT_JSON,
};

const struct option boot_options[] = {
	{ "trace", required_argument, NULL, OPT_TRACE },
	{ "delay", required_argument, NULL, OPT_DELAY },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

enum boot_how {
	BOOT_WITHOUT,      /* a pull */
	BOOT_HOT_FIRST,    /* a pull has copied first what is read */
	BOOT_BESIDE_FIRST, /* such a pull begins with the boot */
	BOOT_BESIDE_PULL,  /* a pull in the disk's order does */
	BOOT_N_HOWS
};
static const char *const boot_hows[] = { "without", "hot_first", "beside_first", "beside_pull" };
static const char *const boot_says[] = { "without", "hot first", "beside such a pull",
					 "beside a pull" };

struct boot_run {
	uint64_t ns, base_reads; /* those for the machine */
};

struct boot {
	const char *file, *dir;
	uint64_t delay_ms;
	bool json;
	struct trace trace;
	struct bpull_range *ranges; /* the trace's */
	uint64_t disk_len, hot_len; /* bytes; hot: in whole blocks, each once */
	struct slow_base *base;
	struct boot_run runs[BOOT_N_HOWS];
	uint64_t pull_ns;
};

static int boot_take_option(void *bench, int option)
{
	struct boot *b = bench;

	switch (option) {
	case OPT_TRACE: b->file = optarg; return 0;
	case OPT_DELAY: return commands_count("boot", "--delay", 1, 1000, &b->delay_ms);
	case OPT_DIR: b->dir = optarg; return 0;
	case OPT_JSON: b->json = true; return 0;
	default: return EXIT_CODE_USAGE;
	}
}

/* ---- what is read ---- */

static int boot_make_up(struct trace *trace)
{
	uint64_t state = 1;
	int rc = 0;

	for (unsigned i = 0; !rc && i < N_REQUESTS; i++) {
		struct trace_range range = { .us = i };

		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		range.off = (state >> 33) % N_PLACES * (20 << 20) + (state >> 40) % 96 * 4096;
		range.len = UINT64_C(4096) << (state >> 50) % 5;
		rc = trace_add(trace, &range);
	}
	return rc;
}

static int boot_load(struct boot *b)
{
	char why[TRACE_WHY_CAP] = "out of memory";
	int rc = b->file ? trace_load(b->file, &b->trace, why) : boot_make_up(&b->trace);

	if (!rc && !b->trace.n)
		return complain_usage("boot", "--trace: %s: it has no range", b->file);
	b->ranges = calloc(b->trace.n + 1, sizeof(*b->ranges));
	if (rc == -EINVAL)
		return complain_usage("boot", "--trace: %s", why);
	if (rc || !b->ranges)
		return complain(rc ? exit_code_of_error(rc) : EXIT_CODE_FAILED, "%s", why);
	b->disk_len = MIN_DISK;
	for (size_t i = 0; i < b->trace.n; i++) {
		const struct trace_range *range = &b->trace.ranges[i];
		uint64_t end = range->off + range->len;

		b->ranges[i] = (struct bpull_range){ range->off, range->len };
		b->disk_len = end > b->disk_len ? end : b->disk_len;
	}
	b->disk_len = (b->disk_len + BLOCK - 1) / BLOCK * BLOCK;
	if (b->disk_len > MAX_DISK)
		return complain_usage("boot", "--trace: %s: it is of a disk of more than 64 GiB",
				      b->file);
	return 0;
}

/* What is read must be data: zeros are left to the chain by a pull. */
static int boot_make_base(struct boot *b)
{
	int fd = open("base", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint8_t *known = calloc(b->disk_len / BLOCK + 1, 1);
	char *buf = malloc(BLOCK);
	bool ok = fd >= 0 && known && buf && !ftruncate(fd, (off_t)b->disk_len);
	int code;

	for (size_t i = 0; ok && i < b->trace.n; i++) {
		uint64_t end = b->ranges[i].offset + b->ranges[i].length;

		for (uint64_t at = b->ranges[i].offset / BLOCK; ok && at * BLOCK < end; at++) {
			if (known[at])
				continue;
			known[at] = 1;
			b->hot_len += BLOCK;
			scene_content(buf, BLOCK, at * BLOCK);
			ok = pwrite(fd, buf, BLOCK, (off_t)(at * BLOCK)) == (ssize_t)BLOCK;
		}
	}
	code = ok ? 0 : complain_system("base");
	if (fd >= 0)
		close(fd);
	free(known);
	free(buf);
	return code;
}

/* ---- what is measured ---- */

static int boot_read_all(struct boot *b, struct bpull_disk *disk, struct boot_run *run)
{
	char *buf = malloc(BLOCK);
	uint64_t began_ns = timed_now_ns(), reads = slow_base_guest_reads(b->base);
	int rc = buf ? 0 : -ENOMEM;

	for (size_t i = 0; !rc && i < b->trace.n; i++)
		for (uint64_t at = 0; !rc && at < b->ranges[i].length; at += BLOCK) {
			uint64_t left = b->ranges[i].length - at;

			rc = bpull_pread(disk, buf, left < BLOCK ? left : BLOCK,
					 b->ranges[i].offset + at);
		}
	run->ns = timed_now_ns() - began_ns;
	run->base_reads = slow_base_guest_reads(b->base) - reads;
	free(buf);
	return rc < 0 ? complain(exit_code_of_error(rc), "a read: %s", strerror(-rc)) : 0;
}

static int boot_start_pull(struct boot *b, struct bpull_disk *disk, enum boot_how how)
{
	struct bpull_job_options o = { .size = sizeof(o) };
	struct bpull_error error = { 0 };
	int rc;

	if (how != BOOT_BESIDE_PULL) {
		o.first = b->ranges;
		o.n_first = b->trace.n;
	}
	rc = bpull_job_start(disk, &o, &error);
	return rc ? complain_library("pull", &error, rc) : 0;
}

/* Until all that is read was copied; the rest of the disk is not waited for. */
static void boot_wait_for_first(struct boot *b, struct bpull_disk *disk)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	uint64_t began_ns = timed_now_ns();

	do {
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
		bpull_job_get_info(disk, &info);
	} while (info.copied_bytes < b->hot_len && info.state != BPULL_JOB_CONCLUDED);
	b->pull_ns = timed_now_ns() - began_ns;
}

static int boot_end_pull(struct bpull_disk *disk)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_abort(disk);
	bpull_job_get_info(disk, &info);
	while (info.state != BPULL_JOB_CONCLUDED) {
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
		bpull_job_get_info(disk, &info);
	}
	return info.status == BPULL_JOB_FAILED
		       ? complain(exit_code_of_error(info.error), "the pull failed: %s",
				  strerror(-info.error))
		       : 0;
}

static int boot_on(struct boot *b, enum boot_how how)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_QCOW2, BPULL_DISK_GUEST_IO);
	struct bpull_error error = { 0 };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	const char *name = boot_hows[how];
	int code = scene_overlay(name, BPULL_FORMAT_QCOW2, b->disk_len, BLOCK, "base",
				 BPULL_FORMAT_RAW);
	int rc = code ? 0 : bpull_engine_open(&eo, &engine, &error);

	o.find_base = slow_base_find;
	o.find_opaque = b->base;
	if (!code && !rc)
		rc = bpull_disk_open(engine, name, &o, &disk, &error);
	if (rc)
		code = complain_library("open", &error, rc);
	if (!code && how != BOOT_WITHOUT)
		code = boot_start_pull(b, disk, how);
	if (!code && how == BOOT_HOT_FIRST) {
		boot_wait_for_first(b, disk);
		code = boot_end_pull(disk);
	}
	if (!code)
		code = boot_read_all(b, disk, &b->runs[how]);
	if (!code && how > BOOT_HOT_FIRST)
		code = boot_end_pull(disk);
	bpull_engine_close(engine);
	return code;
}

static int boot_measure(struct boot *b)
{
	int code = 0;

	b->base = slow_base_open("base", b->disk_len, b->delay_ms * 1000000);
	if (!b->base)
		return complain_system("base");
	for (unsigned how = 0; how < BOOT_N_HOWS && !code; how++)
		code = boot_on(b, (enum boot_how)how);
	slow_base_close(b->base);
	return code;
}

/* ---- the result ---- */

static struct json_object *boot_json_run(const struct boot_run *run)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "ns", json_object_new_uint64(run->ns));
	json_object_object_add(object, "base_reads", json_object_new_uint64(run->base_reads));
	return object;
}

static int boot_print(const struct boot *b)
{
	struct json_object *head;

	if (!b->json) {
		printf("%zu ranges, %.1f MiB in blocks of 64 KiB, a base of %llu ms\n"
		       "  %-20s %10s %8s %15s\n",
		       b->trace.n, b->hot_len / 1048576.0, (unsigned long long)b->delay_ms, "",
		       "seconds", "x", "reads of the base");
		for (unsigned how = 0; how < BOOT_N_HOWS; how++)
			printf("  %-20s %10.3f %8.1f %15llu\n", boot_says[how],
			       b->runs[how].ns / 1e9,
			       (double)b->runs[BOOT_WITHOUT].ns / b->runs[how].ns,
			       (unsigned long long)b->runs[how].base_reads);
		printf("The pull had brought what is hot in %.3f s.\n", b->pull_ns / 1e9);
		return 0;
	}
	head = machine_head("boot");
	json_object_object_add(head, "ranges", json_object_new_uint64(b->trace.n));
	json_object_object_add(head, "hot_bytes", json_object_new_uint64(b->hot_len));
	json_object_object_add(head, "delay_ms", json_object_new_uint64(b->delay_ms));
	for (unsigned how = 0; how < BOOT_N_HOWS; how++)
		json_object_object_add(head, boot_hows[how], boot_json_run(&b->runs[how]));
	json_object_object_add(head, "pull_ns", json_object_new_uint64(b->pull_ns));
	return machine_print(head);
}

int boot_main(int argc, char **argv)
{
	static struct boot b = { .delay_ms = 20 };
	int code = commands_parse(argc, argv, boot_options, boot_take_option, &b);

	if (!code)
		code = boot_load(&b);
	if (!code)
		code = place_enter(b.dir, b.disk_len / 4 + MIN_DISK);
	if (!code)
		code = boot_make_base(&b);
	if (!code)
		code = boot_measure(&b);
	return code ? code : boot_print(&b);
}
