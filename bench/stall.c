/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench stall: how long a guest's 4 KiB reads wait beside what is done to
 * another disk of the same engine (stall_others.c).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/commands.h"
#include "bench/rig/big_tables.h"
#include "bench/rig/complain.h"
#include "bench/rig/histogram.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "bench/rig/scene.h"
#include "bench/rig/timed.h"
#include "bench/stall.h"
#include "tools/words/exit_code.h"

#define READ_LEN  4096
#define MAX_TIMES 1000

const char stall_help[] =
	"Usage: blockpull-bench stall [OPTION...]\n"
	"\n"
	"A guest reads 4 KiB at random from one disk of an engine with a thread of its own, while\n"
	"another disk with large tables is opened, refused (locked), checked, started and closed,\n"
	"and while jobs of other disks end: how long does a read wait beside each of these?\n"
	"\n"
	"Options:\n"
	"  --size SIZE        of the other disk, all of it mapped (default: 1T, whose tables take\n"
	"                     160 MiB)\n"
	"  --times N          each operation, 1 to 1000 (default: 3)\n"
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"
	"  --json             as JSON\n"
	"  -h, --help         this text\n";

enum {
	OPT_SIZE = 256,
	OPT_TIMES,
	OPT_DIR,
	OPT_JSON,
};

const struct option stall_options[] = {
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "times", required_argument, NULL, OPT_TIMES },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char *const phase_names[] = {
	"alone", "open",      "close",       "refused",  "open_job",      "start",      "start_own",
	"check", "close_job", "start_guest", "finalize", "finalize_flat", "abort_flat",
};

static int stall_take_option(void *bench, int option)
{
	struct stall *b = bench;

	switch (option) {
	case OPT_SIZE: return commands_size("stall", "--size", &b->size);
	case OPT_TIMES: return commands_count("stall", "--times", 1, MAX_TIMES, &b->times);
	case OPT_DIR: b->dir = optarg; return 0;
	case OPT_JSON: b->json = true; return 0;
	default: return EXIT_CODE_USAGE;
	}
}

static int stall_parse(struct stall *b, int argc, char **argv)
{
	int code = commands_parse(argc, argv, stall_options, stall_take_option, b);

	if (!code && (b->size < BIG_TABLES_MIN_LEN || b->size > BIG_TABLES_MAX_LEN))
		code = complain_usage("stall", "--size: from 512M to 8T");
	return code;
}

/* ---- the guest ---- */

/* A read counts where it ended, unless nothing was done by then: it waited for what it met on its
 * way. */
static void *stall_run_guest(void *opaque)
{
	struct stall *b = opaque;
	uint64_t state = 1;
	char buf[READ_LEN];

	while (!atomic_load(&b->stop) && !b->guest_error) {
		int began = atomic_load(&b->phase), ended;
		uint64_t at_ns = timed_now_ns(), took_ns;

		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		b->guest_error =
			bpull_pread(b->guest, buf, READ_LEN,
				    (state >> 33) % (STALL_GUEST_LEN / READ_LEN) * READ_LEN);
		took_ns = timed_now_ns() - at_ns;
		ended = atomic_load(&b->phase);
		histogram_add(&b->reads[ended == STALL_ALONE ? began : ended], took_ns);
		atomic_fetch_add(&b->n_reads, 1);
	}
	return NULL;
}

/* ---- both ---- */

static int stall_measure(struct stall *b)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_QCOW2, BPULL_DISK_GUEST_IO);
	struct bpull_error error = { 0 };
	pthread_t thread;
	int rc = bpull_engine_open(&eo, &b->engine, &error), code;

	if (!rc)
		rc = bpull_disk_open(b->engine, "guest", &o, &b->guest, &error);
	if (rc)
		return complain_library("open", &error, rc);
	if (pthread_create(&thread, NULL, stall_run_guest, b)) {
		bpull_engine_close(b->engine);
		return complain(EXIT_CODE_FAILED, "cannot start a thread");
	}
	code = stall_run_others(b);
	atomic_store(&b->stop, true);
	pthread_join(thread, NULL);
	bpull_engine_close(b->engine);
	if (!code && b->guest_error)
		code = complain(EXIT_CODE_FAILED, "the guest's read: %s",
				strerror(-b->guest_error));
	return code;
}

/* ---- the result ---- */

static struct json_object *stall_json_phase(const struct stall *b, unsigned i)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "beside", json_object_new_string(phase_names[i]));
	json_object_object_add(object, "longest_operation_ns",
			       json_object_new_uint64(b->longest_ns[i]));
	json_object_object_add(object, "reads", histogram_json(&b->reads[i]));
	return object;
}

static int stall_print_json(const struct stall *b)
{
	struct json_object *head = machine_head("stall"), *phases = json_object_new_array();

	for (unsigned i = 0; i < STALL_N_PHASES; i++)
		json_object_array_add(phases, stall_json_phase(b, i));
	json_object_object_add(head, "table_bytes",
			       json_object_new_uint64(big_tables_len(b->size)));
	json_object_object_add(head, "times", json_object_new_uint64(b->times));
	json_object_object_add(head, "phases", phases);
	return machine_print(head);
}

static int stall_print_text(const struct stall *b)
{
	printf("4 KiB reads beside another disk with %.0f MiB of tables; milliseconds\n"
	       "  %-10s %10s %8s %8s %8s %8s %16s\n",
	       big_tables_len(b->size) / 1048576.0, "beside", "reads", "p50", "p99", "p99.9",
	       "longest", "the operation");
	for (unsigned i = 0; i < STALL_N_PHASES; i++) {
		const struct histogram *h = &b->reads[i];

		printf("  %-10s %10llu %8.3f %8.3f %8.3f %8.3f", phase_names[i],
		       (unsigned long long)h->n, histogram_percentile(h, 500) / 1e6,
		       histogram_percentile(h, 990) / 1e6, histogram_percentile(h, 999) / 1e6,
		       h->max_ns / 1e6);
		if (i == STALL_ALONE)
			printf(" %16s\n", "-");
		else
			printf(" %16.1f\n", b->longest_ns[i] / 1e6);
	}
	return 0;
}

int stall_main(int argc, char **argv)
{
	static struct stall b = { .size = UINT64_C(1) << 40, .times = 3 };
	int code = stall_parse(&b, argc, argv);

	if (!code)
		code = place_enter(b.dir, 2 * big_tables_len(b.size) + STALL_ROOM);
	if (!code)
		code = stall_make(&b);
	if (!code)
		code = stall_measure(&b);
	if (code)
		return code;
	return b.json ? stall_print_json(&b) : stall_print_text(&b);
}
