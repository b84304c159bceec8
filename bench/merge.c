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
#include <stdio.h>
#include <string.h>

#include "bench/commands.h"
#include "bench/merge.h"
#include "bench/rig/complain.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "bench/rig/qsd.h"
#include "bench/rig/scene.h"
#include "bench/rig/timed.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define MERGE_HELP                                                                              \
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
	"byte.\n"
	"\n"
	"Options:\n" MERGE_HELP;

const char commit_help[] =
	"Usage: blockpull-bench commit [OPTION...]\n"
	"\n"
	"Writes what an image holds down into the empty raw file below it, until that is\n"
	"durable; qemu-storage-daemon's block-commit does the same, where it is installed, and\n"
	"the same bytes are copied plainly, in turn. The first results are compared byte by\n"
	"byte.\n"
	"\n"
	"Options:\n"
	"  --keep             once more without emptying the image, as QEMU does not do that\n"
	"                     either\n" MERGE_HELP;

enum {
	OPT_PATTERN = 256,
	OPT_DATA,
	OPT_CLUSTER,
	OPT_ROUNDS,
	OPT_DIR,
	OPT_JSON,
	OPT_KEEP,
};

const struct option merge_options[] = {
	{ "keep", no_argument, NULL, OPT_KEEP }, /* compact begins behind it */
	{ "pattern", required_argument, NULL, OPT_PATTERN },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "cluster-size", required_argument, NULL, OPT_CLUSTER },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char *const merge_patterns[] = { "dense", "scattered" };

static const char *const merge_methods[] = { "blockpull", "ceiling", "qemu", "keep" };

/* ---- what is printed ---- */

static struct timed_summary merge_summarize(const struct merge *m, unsigned method)
{
	return timed_summarize(m->costs[method], m->rounds);
}

static struct json_object *merge_json_method(const struct merge *m, unsigned method)
{
	struct json_object *object = json_object_new_object(), *runs = json_object_new_array();
	uint64_t median_ns = merge_summarize(m, method).median_ns;

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
			       json_object_new_double((double)median_ns / 1e9));
	json_object_object_add(
		object, "ratio",
		json_object_new_double((double)median_ns /
				       (double)merge_summarize(m, MERGE_CEILING).median_ns));
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
		json_object_object_add(all, merge_methods[m->methods[i]],
				       merge_json_method(m, m->methods[i]));
	json_object_object_add(head, "methods", all);
	return machine_print(head);
}

static void merge_print_text(const struct merge *m)
{
	char moved[SIZE_TEXT_CAP], size[SIZE_TEXT_CAP];
	uint64_t unit_ns = merge_summarize(m, MERGE_CEILING).median_ns;

	printf("%s, %s, %s to move of a disk of %s, %llu rounds; seconds until durable\n", m->verb,
	       merge_patterns[m->pattern], size_text(m->data_len, moved), size_text(m->size, size),
	       (unsigned long long)m->rounds);
	printf("  %-10s %8s %8s %8s %9s\n", "", "min", "median", "max", "x ceiling");
	for (unsigned i = 0; i < m->n_methods; i++) {
		enum merge_method method = m->methods[i];
		struct timed_summary s = merge_summarize(m, method);

		printf("  %-10s %8.3f %8.3f %8.3f %9.2f\n", merge_methods[method], s.min_ns / 1e9,
		       s.median_ns / 1e9, s.max_ns / 1e9, (double)s.median_ns / unit_ns);
	}
}

/* ---- command line ---- */

static int merge_take(void *opaque, int option)
{
	struct merge *m = opaque;

	switch (option) {
	case OPT_PATTERN:
		return commands_word(m->verb, "--pattern", merge_patterns, 2, &m->pattern);
	case OPT_DATA: return commands_size(m->verb, "--data", &m->data_len);
	case OPT_CLUSTER: return commands_cluster(m->verb, &m->cluster_size);
	case OPT_ROUNDS:
		return commands_count(m->verb, "--rounds", 1, TIMED_MAX_ROUNDS, &m->rounds);
	case OPT_DIR: m->dir = optarg; return 0;
	case OPT_JSON: m->json = true; return 0;
	case OPT_KEEP: m->keeps = true; return 0;
	default: return EXIT_CODE_USAGE;
	}
}

/* Whole MiB, at least one. */
static void merge_settle(struct merge *m)
{
	m->data_len = (m->data_len + MERGE_BUF_LEN - 1) / MERGE_BUF_LEN * MERGE_BUF_LEN;
	m->data_len = m->data_len ? m->data_len : MERGE_BUF_LEN;
	m->size = m->pattern ? m->data_len * MERGE_SCATTER : m->data_len;
	m->methods[m->n_methods++] = MERGE_BLOCKPULL;
	if (m->keeps)
		m->methods[m->n_methods++] = MERGE_KEEP;
	m->methods[m->n_methods++] = MERGE_CEILING;
	if (qsd_is_there())
		m->methods[m->n_methods++] = MERGE_QEMU;
	else
		fprintf(stderr, "blockpull-bench: qemu-storage-daemon is not installed\n");
}

static int merge_run(struct merge *m)
{
	int code = 0;

	for (unsigned i = 0; i < m->n_methods && !code; i++) {
		struct timed_cost **costs = &m->costs[m->methods[i]];

		*costs = timed_shared(TIMED_MAX_ROUNDS * sizeof(**costs));
		code = *costs ? 0 : complain_system("memory");
	}
	if (!code)
		code = merge_make(m);
	for (uint64_t i = 0; i < m->rounds * m->n_methods && !code; i++)
		code = merge_one_run(m, m->methods[(i + i / m->n_methods) % m->n_methods],
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
	int code = commands_parse(argc, argv, merge_options + !m.is_commit, merge_take, &m);

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
