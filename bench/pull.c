/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench pull: how long a pull takes until it is durable, in units of a
 * plain copy of the same bytes on the same file system (copies.h, the ceiling).
 * The two take turns, and which of them begins changes with each round, so that
 * a slow minute of the machine meets both.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/rig/complain.h"
#include "bench/rig/ends.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "bench/rig/scene.h"
#include "bench/rig/series.h"
#include "bench/rig/timed.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define N_SAMPLES 65536
#define SAMPLE_MS 10
#define STEP_NS   UINT64_C(100000000)

const char pull_help[] =
	"Usage: blockpull-bench pull [OPTION...]\n"
	"\n"
	"Makes an overlay and its chain, pulls it until that is durable, and copies the same\n"
	"bytes plainly, in turn. The first result is compared byte by byte.\n"
	"\n"
	"Options:\n"
	"  --format FMT       of the overlay: qcow2 (default) or qed\n"
	"  --pattern WORD     the data: dense (default), a full raw base; scattered: 64 KiB\n"
	"                     here and there; half: every other cluster is the overlay's;\n"
	"                     chain: 16 images\n"
	"  --data SIZE        what the chain holds (default: 1G)\n"
	"  --size SIZE        of the guest's disk (default: as --data; scattered: 16 times that)\n"
	"  --cluster-size N   of the images (default: 64K)\n"
	"  --rounds N         of each method (default: 3)\n"
	"  --speed RATE       limits the pull (default: unlimited)\n"
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"
	"  --json             as JSON, for 'blockpull-bench report'\n"
	"  -h, --help         this text\n";

enum {
	OPT_FORMAT = 256,
	OPT_PATTERN,
	OPT_DATA,
	OPT_SIZE,
	OPT_CLUSTER,
	OPT_ROUNDS,
	OPT_SPEED,
	OPT_DIR,
	OPT_JSON,
};

const struct option pull_options[] = {
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "pattern", required_argument, NULL, OPT_PATTERN },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "cluster-size", required_argument, NULL, OPT_CLUSTER },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "speed", required_argument, NULL, OPT_SPEED },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char *const formats[] = { "qcow2", "qed" };
static const char *const patterns[] = { "dense", "scattered", "half", "chain" };

enum {
	PULL,
	CEILING,
	N_METHODS
};
static const char *const methods[] = { "blockpull", "ceiling" };

struct bench {
	struct scene scene;
	uint64_t rounds, speed;
	const char *dir;
	bool json;
	struct series *series[N_METHODS]; /* of the method's last run */
	struct timed_cost *costs[N_METHODS];
};

static int pull_wait_completed(struct bpull_engine *engine, struct bpull_disk *disk,
			       struct series *s)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	bool is_over = false;
	int code = 0;

	while (!code && !is_over) {
		code = ends_of_job(engine, "pull", SAMPLE_MS, &is_over);
		bpull_job_get_info(disk, &info);
		series_add(s, timed_now_ns(), info.copied_bytes + info.cloned_bytes);
	}
	return code;
}

static int pull_once(void *opaque)
{
	struct bench *b = opaque;
	struct bpull_disk_options disk_options = scene_disk_options(b->scene.format, 0);
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = b->speed };
	struct bpull_error error = { 0 };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	int code;
	int rc;

	series_begin(b->series[PULL], timed_now_ns());
	rc = bpull_engine_open(NULL, &engine, &error);
	if (!rc)
		rc = bpull_disk_open(engine, "image", &disk_options, &disk, &error);
	if (!rc)
		rc = bpull_job_start(disk, &job, &error);
	code = rc ? complain_library("pull", &error, rc)
		  : pull_wait_completed(engine, disk, b->series[PULL]);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return code;
}

static void pull_note_copied(void *opaque, uint64_t done_len)
{
	struct bench *b = opaque;

	series_add(b->series[CEILING], timed_now_ns(), done_len);
}

static int pull_copy_once(void *opaque)
{
	struct bench *b = opaque;
	struct copies_job job = { .method = COPIES_CEILING,
				  .from = "packed",
				  .to = "copy",
				  .progress = pull_note_copied,
				  .opaque = b };
	int code;

	series_begin(b->series[CEILING], timed_now_ns());
	code = ends_copy(&job);
	if (!code) /* it is durable now */
		pull_note_copied(b, scene_moved_len(&b->scene));
	return code;
}

static int pull_one_run(struct bench *b, unsigned method, uint64_t round)
{
	int code = scene_fresh("image");

	unlink("copy");
	if (!code)
		code = scene_warm();
	sync();
	if (code)
		return code;
	place_touch_memory(scene_moved_len(&b->scene) + (64 << 20));
	code = timed_run(method == PULL ? pull_once : pull_copy_once, b,
			 method == PULL ? "image" : "copy", &b->costs[method][round]);
	if (!code && method == PULL && !round)
		code = scene_judge(&b->scene, "image");
	return code;
}

static double pull_gib(const struct bench *b)
{
	return (double)scene_moved_len(&b->scene) / (1 << 30);
}

static void pull_add_double(struct json_object *to, const char *name, double value)
{
	json_object_object_add(to, name, json_object_new_double(value));
}

static void pull_add_u64(struct json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_uint64(value));
}

static struct json_object *pull_json_method(const struct bench *b, unsigned method,
					    uint64_t unit_ns)
{
	struct json_object *object = json_object_new_object(), *runs = json_object_new_array();
	struct timed_summary s = timed_summarize(b->costs[method], b->rounds);

	for (uint64_t i = 0; i < b->rounds; i++) {
		const struct timed_cost *cost = &b->costs[method][i];
		struct json_object *run = json_object_new_object();

		pull_add_double(run, "seconds", cost->wall_ns / 1e9);
		pull_add_double(run, "cpu_seconds", cost->cpu_ns / 1e9);
		pull_add_u64(run, "rss_bytes", cost->rss_len);
		json_object_array_add(runs, run);
	}
	pull_add_double(object, "min_seconds", s.min_ns / 1e9);
	pull_add_double(object, "median_seconds", s.median_ns / 1e9);
	pull_add_double(object, "max_seconds", s.max_ns / 1e9);
	pull_add_double(object, "ratio", (double)s.median_ns / unit_ns);
	pull_add_double(object, "cpu_seconds_per_gib", s.cpu_ns / 1e9 / pull_gib(b));
	pull_add_u64(object, "rss_bytes", s.rss_len);
	json_object_object_add(object, "runs", runs);
	json_object_object_add(object, "throughput", series_json(b->series[method], STEP_NS));
	return object;
}

static int pull_print_json(const struct bench *b)
{
	struct json_object *head = machine_head("pull"), *o = json_object_new_object(),
			   *all = json_object_new_object();
	uint64_t unit_ns = timed_summarize(b->costs[CEILING], b->rounds).median_ns;

	json_object_object_add(o, "format",
			       json_object_new_string(bpull_format_name(b->scene.format)));
	json_object_object_add(o, "pattern", json_object_new_string(patterns[b->scene.pattern]));
	pull_add_u64(o, "size_bytes", b->scene.size);
	pull_add_u64(o, "data_bytes", b->scene.data_len);
	pull_add_u64(o, "moved_bytes", scene_moved_len(&b->scene));
	pull_add_u64(o, "cluster_size", b->scene.cluster_size);
	pull_add_u64(o, "rounds", b->rounds);
	pull_add_u64(o, "speed", b->speed);
	json_object_object_add(head, "options", o);
	for (unsigned m = 0; m < N_METHODS; m++)
		json_object_object_add(all, methods[m], pull_json_method(b, m, unit_ns));
	json_object_object_add(head, "methods", all);
	return machine_print(head);
}

static void pull_print_text(const struct bench *b)
{
	char moved[SIZE_TEXT_CAP], size[SIZE_TEXT_CAP];
	uint64_t unit_ns = timed_summarize(b->costs[CEILING], b->rounds).median_ns;

	printf("%s, %s, %s to move of a disk of %s, %llu rounds; seconds until durable\n",
	       bpull_format_name(b->scene.format), patterns[b->scene.pattern],
	       size_text(scene_moved_len(&b->scene), moved), size_text(b->scene.size, size),
	       (unsigned long long)b->rounds);
	printf("  %-10s %8s %8s %8s %9s %10s %9s\n", "", "min", "median", "max", "x ceiling",
	       "CPU s/GiB", "peak MiB");
	for (unsigned m = 0; m < N_METHODS; m++) {
		struct timed_summary s = timed_summarize(b->costs[m], b->rounds);

		printf("  %-10s %8.3f %8.3f %8.3f %9.2f %10.2f %9.1f\n", methods[m], s.min_ns / 1e9,
		       s.median_ns / 1e9, s.max_ns / 1e9, (double)s.median_ns / unit_ns,
		       s.cpu_ns / 1e9 / pull_gib(b), s.rss_len / 1048576.0);
	}
}

static int pull_take_option(void *bench, int option)
{
	struct bench *b = bench;
	unsigned which;
	int code = 0;

	switch (option) {
	case OPT_FORMAT:
		code = commands_word("pull", "--format", formats, 2, &which);
		b->scene.format = which ? BPULL_FORMAT_QED : BPULL_FORMAT_QCOW2;
		break;
	case OPT_PATTERN:
		code = commands_word("pull", "--pattern", patterns, 4, &which);
		b->scene.pattern = (enum scene_pattern)which;
		break;
	case OPT_DATA: code = commands_size("pull", "--data", &b->scene.data_len); break;
	case OPT_SIZE: code = commands_size("pull", "--size", &b->scene.size); break;
	case OPT_CLUSTER: code = commands_cluster("pull", &b->scene.cluster_size); break;
	case OPT_ROUNDS:
		code = commands_count("pull", "--rounds", 1, TIMED_MAX_ROUNDS, &b->rounds);
		break;
	case OPT_SPEED: code = commands_rate("pull", "--speed", &b->speed); break;
	case OPT_DIR: b->dir = optarg; break;
	case OPT_JSON: b->json = true; break;
	default: code = EXIT_CODE_USAGE;
	}
	return code;
}

static int pull_parse(struct bench *b, int argc, char **argv)
{
	int code = commands_parse(argc, argv, pull_options, pull_take_option, b);

	if (!code && (b->scene.data_len | b->scene.size) >> 50)
		code = complain_usage("pull", "--data and --size: at most 1024 TiB");
	scene_settle(&b->scene);
	return code;
}

int pull_main(int argc, char **argv)
{
	struct bench b = { .scene = { .format = BPULL_FORMAT_QCOW2, .cluster_size = 65536 },
			   .rounds = 3 };
	int code = pull_parse(&b, argc, argv);

	if (!code)
		code = place_enter(b.dir, scene_room(&b.scene));
	if (code)
		return code;
	for (unsigned m = 0; m < N_METHODS && !code; m++) {
		b.series[m] = series_new(N_SAMPLES);
		b.costs[m] = timed_shared(TIMED_MAX_ROUNDS * sizeof(struct timed_cost));
		if (!b.series[m] || !b.costs[m])
			code = EXIT_CODE_FAILED;
	}
	if (!code)
		code = scene_make(&b.scene);
	for (uint64_t i = 0; i < b.rounds * N_METHODS && !code; i++)
		code = pull_one_run(&b, (unsigned)(i + i / N_METHODS) % N_METHODS, i / N_METHODS);
	if (!code && b.json)
		code = pull_print_json(&b);
	else if (!code)
		pull_print_text(&b);
	return code;
}
