/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench cold: how long a pull takes, until it is durable, whose base is not in the page
 * cache, in units of what the device needs to read the base's bytes; beside a plain copy and
 * qemu-img rebase. They take turns, and which of them begins changes with each round.
 */
#include <stdio.h>

#include "bench/cold.h"
#include "bench/commands.h"
#include "bench/rig/complain.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

const char cold_help[] =
	"Usage: blockpull-bench cold [OPTION...]\n"
	"\n"
	"Pulls a base that was dropped from the page cache, until that is durable; reads it with\n"
	"O_DIRECT, copies the same bytes plainly, and runs qemu-img rebase, where it is "
	"installed,\n"
	"in turn. The first results are compared byte by byte.\n"
	"\n"
	"Options:\n"
	"  --base WORD        its format: raw (default) or qcow2\n"
	"  --data SIZE        what it holds (default: 512M)\n"
	"  --cluster-size N   of the overlay (default: 64K)\n"
	"  --rounds N         of each method (default: 3)\n"
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"
	"  --image-dir DIR    where what is made goes (default: the same): on another device the\n"
	"                     base's has nothing to do but read\n"
	"  --json             as JSON, for 'blockpull-bench report'\n"
	"  -h, --help         this text\n";

enum {
	OPT_BASE = 256,
	OPT_DATA,
	OPT_CLUSTER,
	OPT_ROUNDS,
	OPT_DIR,
	OPT_IMAGE_DIR,
	OPT_JSON,
};

const struct option cold_options[] = {
	{ "base", required_argument, NULL, OPT_BASE },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "cluster-size", required_argument, NULL, OPT_CLUSTER },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "image-dir", required_argument, NULL, OPT_IMAGE_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char *const cold_formats[] = { "raw", "qcow2" };
static const char *const cold_methods[] = { "device", "blockpull", "ceiling", "rebase" };

/* ---- the result ---- */

static void cold_add_double(struct json_object *to, const char *name, double value)
{
	json_object_object_add(to, name, json_object_new_double(value));
}

static void cold_add_u64(struct json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_uint64(value));
}

static struct json_object *cold_json_method(const struct cold *c, unsigned method, uint64_t unit_ns)
{
	struct json_object *object = json_object_new_object(), *runs = json_object_new_array();
	struct timed_summary s = timed_summarize(c->costs[method], c->rounds);

	for (uint64_t i = 0; i < c->rounds; i++) {
		struct json_object *run = json_object_new_object();

		cold_add_double(run, "seconds", (double)c->costs[method][i].wall_ns / 1e9);
		cold_add_double(run, "cpu_seconds", (double)c->costs[method][i].cpu_ns / 1e9);
		if (method == COLD_BLOCKPULL)
			cold_add_u64(run, "past_cache_bytes", c->past_cache_len[i]);
		json_object_array_add(runs, run);
	}
	cold_add_double(object, "min_seconds", (double)s.min_ns / 1e9);
	cold_add_double(object, "median_seconds", (double)s.median_ns / 1e9);
	cold_add_double(object, "max_seconds", (double)s.max_ns / 1e9);
	cold_add_double(object, "ratio", (double)s.median_ns / (double)unit_ns);
	cold_add_double(object, "cpu_seconds", (double)s.cpu_ns / 1e9);
	cold_add_u64(object, "rss_bytes", s.rss_len);
	json_object_object_add(object, "runs", runs);
	return object;
}

static int cold_print_json(const struct cold *c)
{
	struct json_object *head = machine_head("cold"), *o = json_object_new_object(),
			   *all = json_object_new_object();
	uint64_t unit_ns = timed_summarize(c->costs[COLD_DEVICE], c->rounds).median_ns;

	json_object_object_add(o, "base", json_object_new_string(cold_formats[c->base_format]));
	cold_add_u64(o, "data_bytes", scene_moved_len(&c->scene));
	cold_add_u64(o, "cluster_size", c->scene.cluster_size);
	cold_add_u64(o, "rounds", c->rounds);
	json_object_object_add(o, "image_dir",
			       c->image_dir ? json_object_new_string(c->image_dir) : NULL);
	json_object_object_add(head, "options", o);
	for (unsigned m = 0; m < c->n_methods; m++)
		json_object_object_add(all, cold_methods[m], cold_json_method(c, m, unit_ns));
	json_object_object_add(head, "methods", all);
	return machine_print(head);
}

static void cold_print_text(const struct cold *c)
{
	uint64_t unit_ns = timed_summarize(c->costs[COLD_DEVICE], c->rounds).median_ns;
	char data[SIZE_TEXT_CAP];

	printf("a %s base of %s, not in the page cache, %llu rounds; seconds until durable%s%s\n",
	       cold_formats[c->base_format], size_text(scene_moved_len(&c->scene), data),
	       (unsigned long long)c->rounds, c->image_dir ? " in " : "",
	       c->image_dir ? c->image_dir : "");
	printf("  %-10s %8s %8s %8s %9s %8s\n", "", "min", "median", "max", "x device", "CPU s");
	for (unsigned m = 0; m < c->n_methods; m++) {
		struct timed_summary s = timed_summarize(c->costs[m], c->rounds);

		printf("  %-10s %8.3f %8.3f %8.3f %9.2f %8.2f\n", cold_methods[m],
		       (double)s.min_ns / 1e9, (double)s.median_ns / 1e9, (double)s.max_ns / 1e9,
		       (double)s.median_ns / (double)unit_ns, (double)s.cpu_ns / 1e9);
	}
}

/* ---- command line ---- */

static int cold_take(void *opaque, int option)
{
	struct cold *c = opaque;

	switch (option) {
	case OPT_BASE: return commands_word("cold", "--base", cold_formats, 2, &c->base_format);
	case OPT_DATA: return commands_size("cold", "--data", &c->scene.data_len);
	case OPT_CLUSTER: return commands_cluster("cold", &c->scene.cluster_size);
	case OPT_ROUNDS: return commands_count("cold", "--rounds", 1, TIMED_MAX_ROUNDS, &c->rounds);
	case OPT_DIR: c->dir = optarg; return 0;
	case OPT_IMAGE_DIR: c->image_dir = optarg; return 0;
	case OPT_JSON: c->json = true; return 0;
	default: return EXIT_CODE_USAGE;
	}
}

static int cold_parse(struct cold *c, int argc, char **argv)
{
	int code = commands_parse(argc, argv, cold_options, cold_take, c);

	if (!code && c->scene.data_len >> 46)
		code = complain_usage("cold", "--data: at most 64 TiB");
	if (code)
		return code;
	scene_settle(&c->scene);
	c->n_methods = cold_has_qemu() ? COLD_N : COLD_REBASE;
	if (c->n_methods < COLD_N)
		fprintf(stderr, "blockpull-bench: qemu-img is not installed\n");
	return 0;
}

static int cold_run(struct cold *c)
{
	int code = 0;

	c->past_cache_len = timed_shared(TIMED_MAX_ROUNDS * sizeof(*c->past_cache_len));
	for (unsigned i = 0; i < c->n_methods && !code; i++) {
		c->costs[i] = timed_shared(TIMED_MAX_ROUNDS * sizeof(struct timed_cost));
		code = c->costs[i] && c->past_cache_len ? 0 : EXIT_CODE_FAILED;
	}
	if (!code)
		code = cold_make(c);
	for (uint64_t i = 0; i < c->rounds * c->n_methods && !code; i++) {
		c->round = i / c->n_methods;
		code = cold_one_run(c, (unsigned)(i + c->round) % c->n_methods);
	}
	if (!code && c->json)
		return cold_print_json(c);
	if (!code)
		cold_print_text(c);
	return code;
}

int cold_main(int argc, char **argv)
{
	struct cold c = { .scene = { .format = BPULL_FORMAT_QCOW2,
				     .data_len = UINT64_C(512) << 20,
				     .cluster_size = 65536 },
			  .rounds = 3 };
	int code = cold_parse(&c, argc, argv);

	if (!code)
		code = place_enter_two(c.dir, scene_room(&c.scene) + scene_moved_len(&c.scene),
				       c.image_dir, scene_room(&c.scene), c.image_place);
	return code ? code : cold_run(&c);
}
