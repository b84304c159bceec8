/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench compact and commit: how long it takes, until it is durable, to
 * make one file of two of a chain, beside qemu-storage-daemon's job that does the
 * same, and in units of a plain copy of the same bytes. They take turns, and which
 * of them begins changes with each round.
 *
 *     low   raw, a hole        mid   qcow2, has the data        upper   qcow2, empty
 *
 * compact: what mid holds goes up into upper (QEMU: block-stream down to a base).
 * commit: it goes down into low (QEMU: block-commit).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/rig/complain.h"
#include "bench/rig/copies.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "bench/rig/qsd.h"
#include "bench/rig/scene.h"
#include "bench/rig/timed.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define MERGE_MAX_ROUNDS 1000
#define MERGE_PIECE_LEN  (64u << 10)
#define MERGE_SCATTER    16u
#define MERGE_BUF_LEN    (1u << 20)

#define MERGE_HELP                                                                              \
	"\n"                                                                                    \
	"Options:\n"                                                                            \
	"  --pattern WORD     the data: dense (default), or scattered: 64 KiB here and there\n" \
	"  --data SIZE        what is moved (default: 1G)\n"                                    \
	"  --cluster-size N   of the images (default: 64K)\n"                                   \
	"  --rounds N         of each method (default: 3)\n"                                    \
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"            \
	"  --json             as JSON\n"                                                        \
	"  -h, --help         this text\n"

const char compact_help[] =
	"Usage: blockpull-bench compact [OPTION...]\n"
	"\n"
	"Makes one file of the two upper files of a chain of three, upwards, until that is\n"
	"durable; qemu-storage-daemon's block-stream does the same, where it is installed, and\n"
	"the same bytes are copied plainly, in turn. The first results are compared byte by\n"
	"byte.\n" MERGE_HELP;

const char commit_help[] =
	"Usage: blockpull-bench commit [OPTION...]\n"
	"\n"
	"Writes what an image holds down into the empty raw file below it, until that is\n"
	"durable; qemu-storage-daemon's block-commit does the same, where it is installed, and\n"
	"the same bytes are copied plainly, in turn. The first results are compared byte by\n"
	"byte.\n" MERGE_HELP;

enum {
	OPT_PATTERN = 256,
	OPT_DATA,
	OPT_CLUSTER,
	OPT_ROUNDS,
	OPT_DIR,
	OPT_JSON,
};

const struct option merge_options[] = {
	{ "pattern", required_argument, NULL, OPT_PATTERN },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "cluster-size", required_argument, NULL, OPT_CLUSTER },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char *const merge_patterns[] = { "dense", "scattered" };

enum merge_method {
	MERGE_BLOCKPULL,
	MERGE_CEILING,
	MERGE_QEMU,
	MERGE_N
};
static const char *const merge_methods[] = { "blockpull", "ceiling", "qemu" };

struct merge {
	const char *verb;
	bool is_commit;
	unsigned pattern;
	uint64_t data_len, size, rounds;
	uint32_t cluster_size;
	const char *dir;
	bool json;
	unsigned n_methods; /* without QEMU one less */
	struct timed_cost *costs[MERGE_N];
};

/* ---- the files ---- */

static uint64_t merge_stride(const struct merge *m)
{
	return m->pattern ? (uint64_t)MERGE_PIECE_LEN * MERGE_SCATTER : MERGE_BUF_LEN;
}

static uint64_t merge_piece(const struct merge *m)
{
	return m->pattern ? MERGE_PIECE_LEN : MERGE_BUF_LEN;
}

/* Each piece into the image, and all of them into a file of their own, back to back. */
static int merge_write(const struct merge *m, struct bpull_disk *disk, char *buf)
{
	int packed = open("packed", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t len = merge_piece(m);
	int rc = packed < 0 ? -errno : 0;

	for (uint64_t off = 0; !rc && off < m->size; off += merge_stride(m)) {
		scene_content(buf, len, off);
		rc = bpull_pwrite(disk, buf, len, off, 0);
		if (!rc && write(packed, buf, len) != (ssize_t)len)
			rc = -EIO;
	}
	if (!rc && fsync(packed))
		rc = -errno;
	if (packed >= 0)
		close(packed);
	return rc;
}

static int merge_fill(const struct merge *m)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	char *buf = malloc(MERGE_BUF_LEN);
	int rc = buf ? bpull_engine_open(&eo, &engine, &error) : -ENOMEM;

	if (!rc)
		rc = bpull_disk_open(engine, "mid", &o, &disk, &error);
	if (!rc)
		rc = merge_write(m, disk, buf);
	if (!rc)
		rc = bpull_pflush(disk);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	free(buf);
	return rc ? complain_library("the data", &error, rc) : 0;
}

static int merge_make(const struct merge *m)
{
	int code = scene_raw("low", m->size, 0, 0);

	if (!code)
		code = scene_overlay("mid", BPULL_FORMAT_QCOW2, m->size, m->cluster_size, "low",
				     BPULL_FORMAT_RAW);
	if (!code)
		code = merge_fill(m);
	/* A commit empties it: each gets a copy of its own. */
	if (!code && m->is_commit && rename("mid", "fresh"))
		code = complain_system("fresh");
	return code;
}

static const char *merge_made(const struct merge *m, unsigned method)
{
	if (method == MERGE_CEILING)
		return "copy";
	return m->is_commit ? "low" : "upper";
}

/* What a run begins with. */
static int merge_refresh(const struct merge *m)
{
	unlink("copy");
	if (!m->is_commit) {
		unlink("upper");
		return scene_overlay("upper", BPULL_FORMAT_QCOW2, m->size, m->cluster_size, "mid",
				     BPULL_FORMAT_QCOW2);
	}
	unlink("mid");
	unlink("low");
	return scene_raw("low", m->size, 0, 0) || scene_fresh("mid") ? EXIT_CODE_FAILED : 0;
}

/* ---- the methods ---- */

static int merge_with_blockpull(void *opaque)
{
	const struct merge *m = opaque;
	struct bpull_job_options job = { .size = sizeof(job), .base = "low" };
	struct bpull_event event = { 0 };
	struct bpull_error error = { 0 };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	int rc = bpull_engine_open(NULL, &engine, &error);

	if (m->is_commit)
		job.type = BPULL_JOB_TYPE_COMMIT;
	if (!rc)
		rc = bpull_disk_open(engine, m->is_commit ? "mid" : "upper", NULL, &disk, &error);
	if (!rc)
		rc = bpull_job_start(disk, &job, &error);
	while (!rc && (!event.disk || event.status == BPULL_JOB_READY)) {
		int n = bpull_engine_wait(engine, &event, 1, -1);

		rc = n < 0 ? n : 0;
	}
	if (!rc && event.status != BPULL_JOB_COMPLETED)
		return complain(EXIT_CODE_FAILED, "blockpull: %s", event.message);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return rc ? complain_library("blockpull", &error, rc) : 0;
}

static int merge_with_qemu(void *opaque)
{
	static const char *const up[] = {
		"--blockdev", "file,node-name=low-file,filename=low,read-only=on",
		"--blockdev", "raw,node-name=low,file=low-file,read-only=on",
		"--blockdev", "file,node-name=mid-file,filename=mid,read-only=on",
		"--blockdev", "qcow2,node-name=mid,file=mid-file,backing=low,read-only=on",
		"--blockdev", "file,node-name=upper-file,filename=upper",
		"--blockdev", "qcow2,node-name=upper,file=upper-file,backing=mid",
		NULL,
	};
	static const char *const down[] = {
		"--blockdev", "file,node-name=low-file,filename=low",
		"--blockdev", "raw,node-name=low,file=low-file",
		"--blockdev", "file,node-name=mid-file,filename=mid",
		"--blockdev", "qcow2,node-name=mid,file=mid-file,backing=low",
		NULL,
	};

	if (((const struct merge *)opaque)->is_commit)
		return qsd_run_job(down, "{\"execute\":\"block-commit\",\"arguments\":{"
					 "\"job-id\":\"j\",\"device\":\"mid\","
					 "\"base-node\":\"low\"}}");
	return qsd_run_job(up, "{\"execute\":\"block-stream\",\"arguments\":{"
			       "\"job-id\":\"j\",\"device\":\"upper\","
			       "\"base-node\":\"low\"}}");
}

static int merge_with_copy(void *opaque)
{
	struct copies_job job = { .method = COPIES_CEILING, .from = "packed", .to = "copy" };
	const char *what = NULL;
	int rc = copies_run(&job, &what);

	(void)opaque;
	return rc ? complain(exit_code_of_error(rc), "plain copy: %s: %s", what, strerror(-rc)) : 0;
}

/* ---- is the result right ---- */

static int merge_compare(const struct merge *m, struct bpull_disk *disk, char *got, char *wanted)
{
	uint64_t piece = merge_piece(m), stride = merge_stride(m);

	for (uint64_t off = 0; off < m->size; off += stride) {
		scene_content(wanted, piece, off);
		if (bpull_pread(disk, got, piece, off) || memcmp(got, wanted, piece))
			return complain(EXIT_CODE_DIFFERENT, "the data at %llu is wrong",
					(unsigned long long)off);
	}
	return 0;
}

static int merge_judge(const struct merge *m)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = m->is_commit ? BPULL_FORMAT_RAW
							       : BPULL_FORMAT_QCOW2,
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	char *buf = malloc(2 * MERGE_BUF_LEN);
	int code, rc = buf ? bpull_engine_open(&eo, &engine, &error) : -ENOMEM;

	if (!rc)
		rc = bpull_disk_open(engine, m->is_commit ? "low" : "upper", &o, &disk, &error);
	code = rc ? complain_library("the result", &error, rc)
		  : merge_compare(m, disk, buf, buf + MERGE_BUF_LEN);
	if (!code && !m->is_commit && bpull_disk_depth(disk) != 2)
		code = complain(EXIT_CODE_FAILED, "the chain has %u files afterwards, not 2",
				bpull_disk_depth(disk));
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	free(buf);
	return code;
}

static int merge_one_run(struct merge *m, unsigned method, uint64_t round)
{
	static int (*const works[])(void *opaque) = { merge_with_blockpull, merge_with_copy,
						      merge_with_qemu };
	int code = merge_refresh(m);

	sync();
	if (code)
		return code;
	place_touch_memory(m->data_len + (64 << 20));
	code = timed_run(works[method], m, merge_made(m, method), &m->costs[method][round]);
	if (!code && method != MERGE_CEILING && !round)
		code = merge_judge(m);
	return code;
}

/* ---- what is printed ---- */

static uint64_t merge_median_ns(const struct merge *m, unsigned method)
{
	uint64_t values[MERGE_MAX_ROUNDS];

	for (uint64_t i = 0; i < m->rounds; i++)
		values[i] = m->costs[method][i].wall_ns;
	return timed_median(values, m->rounds);
}

static struct json_object *merge_json_method(const struct merge *m, unsigned method)
{
	struct json_object *object = json_object_new_object(), *runs = json_object_new_array();

	for (uint64_t i = 0; i < m->rounds; i++) {
		struct json_object *run = json_object_new_object();

		json_object_object_add(
			run, "seconds",
			json_object_new_double((double)m->costs[method][i].wall_ns / 1e9));
		json_object_object_add(
			run, "cpu_seconds",
			json_object_new_double((double)m->costs[method][i].cpu_ns / 1e9));
		json_object_object_add(run, "rss_bytes",
				       json_object_new_uint64(m->costs[method][i].rss_len));
		json_object_array_add(runs, run);
	}
	json_object_object_add(object, "median_seconds",
			       json_object_new_double((double)merge_median_ns(m, method) / 1e9));
	json_object_object_add(object, "ratio",
			       json_object_new_double((double)merge_median_ns(m, method) /
						      (double)merge_median_ns(m, MERGE_CEILING)));
	json_object_object_add(object, "runs", runs);
	return object;
}

static int merge_print_json(const struct merge *m)
{
	struct json_object *head = machine_head(m->verb), *o = json_object_new_object(),
			   *all = json_object_new_object();

	json_object_object_add(o, "pattern", json_object_new_string(merge_patterns[m->pattern]));
	json_object_object_add(o, "size_bytes", json_object_new_uint64(m->size));
	json_object_object_add(o, "moved_bytes", json_object_new_uint64(m->data_len));
	json_object_object_add(o, "cluster_size", json_object_new_uint64(m->cluster_size));
	json_object_object_add(o, "rounds", json_object_new_uint64(m->rounds));
	json_object_object_add(head, "options", o);
	for (unsigned i = 0; i < m->n_methods; i++)
		json_object_object_add(all, merge_methods[i], merge_json_method(m, i));
	json_object_object_add(head, "methods", all);
	return machine_print(head);
}

static void merge_print_text(const struct merge *m)
{
	char moved[SIZE_TEXT_CAP], size[SIZE_TEXT_CAP];
	uint64_t unit_ns = merge_median_ns(m, MERGE_CEILING);

	printf("%s, %s, %s to move of a disk of %s, %llu rounds; seconds until durable\n", m->verb,
	       merge_patterns[m->pattern], size_text(m->data_len, moved), size_text(m->size, size),
	       (unsigned long long)m->rounds);
	printf("  %-10s %8s %8s %8s %9s\n", "", "min", "median", "max", "x ceiling");
	for (unsigned i = 0; i < m->n_methods; i++) {
		uint64_t median_ns = merge_median_ns(m, i), min_ns = UINT64_MAX, max_ns = 0;

		for (uint64_t k = 0; k < m->rounds; k++) {
			uint64_t ns = m->costs[i][k].wall_ns;

			min_ns = ns < min_ns ? ns : min_ns;
			max_ns = ns > max_ns ? ns : max_ns;
		}
		printf("  %-10s %8.3f %8.3f %8.3f %9.2f\n", merge_methods[i], min_ns / 1e9,
		       median_ns / 1e9, max_ns / 1e9, (double)median_ns / unit_ns);
	}
}

/* ---- command line ---- */

static int merge_take(void *opaque, int option)
{
	struct merge *m = opaque;
	uint64_t value;
	int code = 0;

	switch (option) {
	case OPT_PATTERN:
		return commands_word(m->verb, "--pattern", merge_patterns, 2, &m->pattern);
	case OPT_DATA: return commands_size(m->verb, "--data", &m->data_len);
	case OPT_CLUSTER:
		code = commands_size(m->verb, "--cluster-size", &value);
		if (!code && (value < 4096 || value > 2 << 20 || (value & (value - 1))))
			code = complain_usage(m->verb,
					      "--cluster-size '%s': a power of two from 4K to 2M "
					      "is wanted",
					      optarg);
		m->cluster_size = (uint32_t)value;
		return code;
	case OPT_ROUNDS:
		return commands_count(m->verb, "--rounds", 1, MERGE_MAX_ROUNDS, &m->rounds);
	case OPT_DIR: m->dir = optarg; return 0;
	case OPT_JSON: m->json = true; return 0;
	default: return EXIT_CODE_USAGE;
	}
}

/* Whole MiB, at least one. */
static void merge_settle(struct merge *m)
{
	m->data_len = (m->data_len + MERGE_BUF_LEN - 1) / MERGE_BUF_LEN * MERGE_BUF_LEN;
	m->data_len = m->data_len ? m->data_len : MERGE_BUF_LEN;
	m->size = m->pattern ? m->data_len * MERGE_SCATTER : m->data_len;
	m->n_methods = qsd_is_there() ? MERGE_N : MERGE_QEMU;
	if (m->n_methods < MERGE_N)
		fprintf(stderr, "blockpull-bench: qemu-storage-daemon is not installed\n");
}

static int merge_run(struct merge *m)
{
	int code = 0;

	for (unsigned i = 0; i < m->n_methods && !code; i++) {
		m->costs[i] = timed_shared(MERGE_MAX_ROUNDS * sizeof(struct timed_cost));
		code = m->costs[i] ? 0 : complain_system("memory");
	}
	if (!code)
		code = merge_make(m);
	for (uint64_t i = 0; i < m->rounds * m->n_methods && !code; i++)
		code = merge_one_run(m, (unsigned)(i + i / m->n_methods) % m->n_methods,
				     i / m->n_methods);
	if (code)
		return code;
	if (m->json)
		return merge_print_json(m);
	merge_print_text(m);
	return 0;
}

static int merge_main(const char *verb, int argc, char **argv)
{
	struct merge m = { .verb = verb,
			   .is_commit = !strcmp(verb, "commit"),
			   .data_len = UINT64_C(1) << 30,
			   .cluster_size = 65536,
			   .rounds = 3 };
	int code = commands_parse(argc, argv, merge_options, merge_take, &m);

	if (!code && m.data_len >> 46)
		code = complain_usage(verb, "--data: at most 64 TiB");
	if (code)
		return code;
	merge_settle(&m);
	code = place_enter(m.dir, 5 * m.data_len + (256 << 20));
	return code ? code : merge_run(&m);
}

int compact_main(int argc, char **argv)
{
	return merge_main("compact", argc, argv);
}

int commit_main(int argc, char **argv)
{
	return merge_main("commit", argc, argv);
}
