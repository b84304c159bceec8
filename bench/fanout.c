/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench fanout: many overlays on one base, pulled by one engine, which reads the base
 * once; beside pulls that know nothing of each other, and beside plain copies of the same bytes.
 */
#include "bench/fanout.h"

#include <stdbool.h>
#include <stdio.h>

#include <json-c/json.h>

#include "bench/commands.h"
#include "bench/rig/complain.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define MAX_ROUNDS 100

const char fanout_help[] =
	"Usage: blockpull-bench fanout [OPTION...]\n"
	"\n"
	"Pulls many overlays on one base: how much is read of the base, and how long does it\n"
	"take? By one engine, of a source that counts; by a process for each overlay, of the\n"
	"same source; by one engine, of a file and with O_DIRECT; and beside that plain copies\n"
	"of the base, by io_uring and O_DIRECT where the kernel allows that.\n"
	"\n"
	"Options:\n"
	"  --format FORMAT    of the overlays: qcow2 (default) or qed\n"
	"  --images N         overlays, 1 to 256 (default: 32)\n"
	"  --data SIZE        what the base holds, up to 64G (default: 256M)\n"
	"  --delay MS         what each answer of the source takes, 0 to 1000 (default: 0)\n"
	"  --rounds N         runs of each (default: 1)\n"
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"
	"  --json             as JSON, for 'blockpull-bench report'\n"
	"  -h, --help         this text\n";

enum {
	OPT_FORMAT = 256,
	OPT_IMAGES,
	OPT_DATA,
	OPT_DELAY,
	OPT_ROUNDS,
	OPT_DIR,
	OPT_JSON,
};

const struct option fanout_options[] = {
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "images", required_argument, NULL, OPT_IMAGES },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "delay", required_argument, NULL, OPT_DELAY },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char *const fanout_formats[] = { "qcow2", "qed" };
static const char *const fanout_ways[] = { "together", "apart", "direct", "copies" };

struct fanout_bench {
	struct fanout f;
	uint64_t rounds;
	const char *dir;
	bool json;
	struct fanout_cost costs[FANOUT_N_WAYS][MAX_ROUNDS];
};

static int fanout_take_option(void *bench, int option)
{
	struct fanout_bench *b = bench;
	uint64_t delay_ms;
	unsigned which;
	int code = 0;

	switch (option) {
	case OPT_FORMAT:
		code = commands_word("fanout", "--format", fanout_formats, 2, &which);
		b->f.format = which ? BPULL_FORMAT_QED : BPULL_FORMAT_QCOW2;
		break;
	case OPT_IMAGES:
		code = commands_count("fanout", "--images", 1, FANOUT_MAX_IMAGES, &b->f.n_images);
		break;
	case OPT_DATA:
		code = commands_size("fanout", "--data", &b->f.data_len);
		if (!code && (!b->f.data_len || b->f.data_len > UINT64_C(64) << 30))
			code = complain_usage("fanout", "--data '%s': up to 64G", optarg);
		break;
	case OPT_DELAY:
		code = commands_count("fanout", "--delay", 0, 1000, &delay_ms);
		b->f.delay_ns = delay_ms * 1000000;
		break;
	case OPT_ROUNDS:
		code = commands_count("fanout", "--rounds", 1, MAX_ROUNDS, &b->rounds);
		break;
	case OPT_DIR: b->dir = optarg; break;
	case OPT_JSON: b->json = true; break;
	default: code = EXIT_CODE_USAGE;
	}
	return code;
}

static int fanout_one_run(struct fanout_bench *b, enum fanout_way way, uint64_t round)
{
	int code = fanout_run(&b->f, way, &b->costs[way][round]);

	return code || round ? code : fanout_judge(&b->f, way);
}

/* ---- the result ---- */

/* Of all rounds of a way. */
struct fanout_summary {
	struct timed_summary timed;
	uint64_t read_len, n_reads; /* the most */
};

static struct fanout_summary fanout_summarize(const struct fanout_bench *b, enum fanout_way way)
{
	struct timed_cost costs[MAX_ROUNDS];
	struct fanout_summary s = { 0 };

	for (uint64_t i = 0; i < b->rounds; i++) {
		const struct fanout_cost *cost = &b->costs[way][i];

		costs[i] = cost->timed;
		s.read_len = cost->read_len > s.read_len ? cost->read_len : s.read_len;
		s.n_reads = cost->n_reads > s.n_reads ? cost->n_reads : s.n_reads;
	}
	s.timed = timed_summarize(costs, b->rounds);
	return s;
}

static void fanout_add(struct json_object *to, const char *name, double value)
{
	json_object_object_add(to, name, json_object_new_double(value));
}

static struct json_object *fanout_json_way(const struct fanout_bench *b, enum fanout_way way,
					   uint64_t unit_ns)
{
	struct json_object *object = json_object_new_object(), *runs = json_object_new_array();
	struct fanout_summary s = fanout_summarize(b, way);

	for (uint64_t i = 0; i < b->rounds; i++) {
		const struct fanout_cost *cost = &b->costs[way][i];
		struct json_object *run = json_object_new_object();

		fanout_add(run, "seconds", cost->timed.wall_ns / 1e9);
		fanout_add(run, "first_seconds", cost->first_end_ns / 1e9);
		fanout_add(run, "cpu_seconds", cost->timed.cpu_ns / 1e9);
		json_object_object_add(run, "read_bytes", json_object_new_uint64(cost->read_len));
		json_object_object_add(run, "reads", json_object_new_uint64(cost->n_reads));
		json_object_array_add(runs, run);
	}
	fanout_add(object, "min_seconds", s.timed.min_ns / 1e9);
	fanout_add(object, "median_seconds", s.timed.median_ns / 1e9);
	fanout_add(object, "max_seconds", s.timed.max_ns / 1e9);
	fanout_add(object, "ratio", (double)s.timed.median_ns / unit_ns);
	fanout_add(object, "cpu_seconds", s.timed.cpu_ns / 1e9);
	json_object_object_add(object, "read_bytes", json_object_new_uint64(s.read_len));
	fanout_add(object, "read_of_base", (double)s.read_len / b->f.data_len);
	json_object_object_add(object, "runs", runs);
	return object;
}

static const char *fanout_copies_name(const struct fanout_bench *b)
{
	return b->f.copies == COPIES_REF ? "io_uring and O_DIRECT" : "pread() and pwrite()";
}

static int fanout_print_json(const struct fanout_bench *b)
{
	struct json_object *head = machine_head("fanout"), *o = json_object_new_object(),
			   *all = json_object_new_object();
	uint64_t unit_ns = fanout_summarize(b, FANOUT_COPIES).timed.median_ns;

	json_object_object_add(o, "format", json_object_new_string(bpull_format_name(b->f.format)));
	json_object_object_add(o, "images", json_object_new_uint64(b->f.n_images));
	json_object_object_add(o, "data_bytes", json_object_new_uint64(b->f.data_len));
	json_object_object_add(o, "delay_ms", json_object_new_uint64(b->f.delay_ns / 1000000));
	json_object_object_add(o, "rounds", json_object_new_uint64(b->rounds));
	json_object_object_add(o, "copies", json_object_new_string(fanout_copies_name(b)));
	json_object_object_add(head, "options", o);
	for (unsigned way = 0; way < FANOUT_N_WAYS; way++)
		json_object_object_add(all, fanout_ways[way], fanout_json_way(b, way, unit_ns));
	json_object_object_add(head, "ways", all);
	return machine_print(head);
}

static void fanout_print_text(const struct fanout_bench *b)
{
	char size[SIZE_TEXT_CAP];
	uint64_t unit_ns = fanout_summarize(b, FANOUT_COPIES).timed.median_ns;

	printf("%llu overlays (%s) on a base of %s, %llu rounds; seconds until durable; copies by "
	       "%s\n",
	       (unsigned long long)b->f.n_images, bpull_format_name(b->f.format),
	       size_text(b->f.data_len, size), (unsigned long long)b->rounds,
	       fanout_copies_name(b));
	printf("  %-10s %8s %8s %8s %9s %8s %12s %8s\n", "", "min", "median", "max", "x copies",
	       "CPU s", "x base read", "reads");
	for (unsigned way = 0; way < FANOUT_N_WAYS; way++) {
		struct fanout_summary s = fanout_summarize(b, way);

		printf("  %-10s %8.3f %8.3f %8.3f %9.2f %8.2f %12.3f", fanout_ways[way],
		       s.timed.min_ns / 1e9, s.timed.median_ns / 1e9, s.timed.max_ns / 1e9,
		       (double)s.timed.median_ns / unit_ns, s.timed.cpu_ns / 1e9,
		       (double)s.read_len / b->f.data_len);
		if (s.n_reads)
			printf(" %8llu\n", (unsigned long long)s.n_reads);
		else
			printf(" %8s\n", "-");
	}
}

int fanout_main(int argc, char **argv)
{
	static struct fanout_bench b = { .f = { .format = BPULL_FORMAT_QCOW2,
						.n_images = 32,
						.data_len = UINT64_C(256) << 20 },
					 .rounds = 1 };
	int code = commands_parse(argc, argv, fanout_options, fanout_take_option, &b);

	/* Whole pieces, as images are judged. */
	b.f.data_len = (b.f.data_len + (2 << 20) - 1) >> 21 << 21;
	if (!code)
		code = place_enter(b.dir,
				   (b.f.n_images + 1) * (b.f.data_len + (2 << 20)) + (64 << 20));
	b.f.copies = copies_best();
	if (!code)
		code = fanout_make(&b.f);
	for (uint64_t i = 0; i < b.rounds * FANOUT_N_WAYS && !code; i++)
		code = fanout_one_run(&b,
				      (enum fanout_way)((i + i / FANOUT_N_WAYS) % FANOUT_N_WAYS),
				      i / FANOUT_N_WAYS);
	if (!code && b.json)
		code = fanout_print_json(&b);
	else if (!code)
		fanout_print_text(&b);
	return code;
}
