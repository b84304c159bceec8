/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench guest: what the library costs a guest. Its requests and raw
 * io_uring's take turns in slices of a quarter of a second, on the same bytes of
 * the same file, so that each pair saw the same machine; the ratio is the median
 * over the pairs. Then, with --with-pull, the requests go on while data that the
 * guest does not touch is pulled without a limit, and the longest of them counts.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/guest.h"
#include "bench/rig/complain.h"
#include "bench/rig/load.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "bench/rig/timed.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

const char guest_help[] =
	"Usage: blockpull-bench guest [OPTION...]\n"
	"\n"
	"Puts random requests of 4 KiB on an image through the library and, in turn, by raw\n"
	"io_uring on the same bytes of its file: requests a second, latencies.\n"
	"\n"
	"Options:\n"
	"  --rw WORD          the kind: read (default), write: where the image has space;\n"
	"                     alloc: each request into a cluster that has none yet\n"
	"  --depth N          requests in flight, 1 to 256 (default: 1)\n"
	"  --seconds N        for each of library, raw file and pull (default: 10)\n"
	"  --with-pull        then the same beside a pull without a limit\n"
	"  --format FMT       of the image: qcow2 (default) or qed\n"
	"  --size SIZE        that the requests go to (default: 1G; alloc: 8G)\n"
	"  --data SIZE        that is pulled (default: 4G)\n"
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"
	"  --json             as JSON, for 'blockpull-bench report'\n"
	"  -h, --help         this text\n";

enum {
	OPT_RW = 256,
	OPT_DEPTH,
	OPT_SECONDS,
	OPT_WITH_PULL,
	OPT_FORMAT,
	OPT_SIZE,
	OPT_DATA,
	OPT_DIR,
	OPT_JSON,
};

const struct option guest_options[] = {
	{ "rw", required_argument, NULL, OPT_RW },
	{ "depth", required_argument, NULL, OPT_DEPTH },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "with-pull", no_argument, NULL, OPT_WITH_PULL },
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char *const formats[] = { "qcow2", "qed" };
static const char *const kinds[] = { "read", "write", "alloc" };
static const char *const phases[] = { "raw", "alone", "with_pull" };

/* Requests a second, of the phase's own time. */
static double guest_iops(const struct guest_result *r, enum guest_phase phase)
{
	return r->busy_ns[phase] ? r->histograms[phase].n * 1e9 / r->busy_ns[phase] : 0;
}

static int guest_compare_double(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double guest_median_ratio(const struct guest_result *r)
{
	double values[GUEST_MAX_PAIRS];

	memcpy(values, r->ratios, r->n_pairs * sizeof(values[0]));
	qsort(values, r->n_pairs, sizeof(values[0]), guest_compare_double);
	return r->n_pairs ? values[r->n_pairs / 2] : 0;
}

static void guest_print_text(const struct guest_bench *b, const struct guest_result *r)
{
	char size[SIZE_TEXT_CAP];

	printf("%s, %s, 4 KiB at random in %s, %u in flight; microseconds\n",
	       bpull_format_name(b->format), kinds[b->kind], size_text(b->area_len, size),
	       b->depth);
	printf("  %-10s %10s %9s %9s %9s %9s %11s\n", "", "IOPS", "p50", "p90", "p99", "p99.9",
	       "longest");
	for (unsigned i = 0; i < GUEST_N_PHASES; i++) {
		const struct histogram *h = &r->histograms[i];

		if (!h->n)
			continue;
		printf("  %-10s %10.0f %9.1f %9.1f %9.1f %9.1f %11.1f\n", phases[i],
		       guest_iops(r, (enum guest_phase)i), histogram_percentile(h, 500) / 1e3,
		       histogram_percentile(h, 900) / 1e3, histogram_percentile(h, 990) / 1e3,
		       histogram_percentile(h, 999) / 1e3, h->max_ns / 1e3);
	}
	if (r->n_pairs)
		printf("of raw io_uring's requests: %.1f %% (median of %u pairs)\n",
		       100 * guest_median_ratio(r), r->n_pairs);
	else
		printf("no pairs: %s\n", r->no_raw);
	if (b->with_pull)
		printf("pulled beside it: %s%s\n", size_text(r->pulled_len, size),
		       r->pull_over ? ", all of it" : "");
}

static struct json_object *guest_json_phase(const struct guest_result *r, enum guest_phase phase)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "iops", json_object_new_double(guest_iops(r, phase)));
	json_object_object_add(object, "seconds", json_object_new_double(r->busy_ns[phase] / 1e9));
	json_object_object_add(object, "latency", histogram_json(&r->histograms[phase]));
	return object;
}

static int guest_print_json(const struct guest_bench *b, const struct guest_result *r)
{
	struct json_object *head = machine_head("guest"), *o = json_object_new_object(),
			   *all = json_object_new_object(), *ratios = json_object_new_array();

	json_object_object_add(o, "format", json_object_new_string(bpull_format_name(b->format)));
	json_object_object_add(o, "rw", json_object_new_string(kinds[b->kind]));
	json_object_object_add(o, "depth", json_object_new_int((int)b->depth));
	json_object_object_add(o, "size_bytes", json_object_new_uint64(b->area_len));
	json_object_object_add(o, "seconds", json_object_new_uint64(b->seconds));
	json_object_object_add(o, "with_pull", json_object_new_boolean(b->with_pull));
	json_object_object_add(o, "pull_bytes", json_object_new_uint64(b->data_len));
	json_object_object_add(head, "options", o);
	for (unsigned i = 0; i < GUEST_N_PHASES; i++)
		if (r->histograms[i].n)
			json_object_object_add(all, phases[i],
					       guest_json_phase(r, (enum guest_phase)i));
	json_object_object_add(head, "phases", all);
	for (unsigned i = 0; i < r->n_pairs; i++)
		json_object_array_add(ratios, json_object_new_double(r->ratios[i]));
	json_object_object_add(head, "pair_ratios", ratios);
	json_object_object_add(head, "ratio",
			       r->n_pairs ? json_object_new_double(guest_median_ratio(r)) : NULL);
	json_object_object_add(head, "no_raw",
			       r->n_pairs ? NULL : json_object_new_string(r->no_raw));
	json_object_object_add(head, "pulled_bytes", json_object_new_uint64(r->pulled_len));
	json_object_object_add(head, "pull_completed", json_object_new_boolean(r->pull_over));
	return machine_print(head);
}

static int guest_take_option(void *bench, int option)
{
	struct guest_bench *b = bench;
	uint64_t value = 0;
	unsigned which;
	int code = 0;

	switch (option) {
	case OPT_RW:
		code = commands_word("guest", "--rw", kinds, 3, &which);
		b->kind = (enum load_kind)which;
		break;
	case OPT_DEPTH:
		code = commands_count("guest", "--depth", 1, LOAD_MAX_DEPTH, &value);
		b->depth = (unsigned)value;
		break;
	case OPT_SECONDS:
		code = commands_count("guest", "--seconds", 1, GUEST_MAX_SECONDS, &b->seconds);
		break;
	case OPT_WITH_PULL: b->with_pull = true; break;
	case OPT_FORMAT:
		code = commands_word("guest", "--format", formats, 2, &which);
		b->format = which ? BPULL_FORMAT_QED : BPULL_FORMAT_QCOW2;
		break;
	case OPT_SIZE: code = commands_size("guest", "--size", &b->area_len); break;
	case OPT_DATA: code = commands_size("guest", "--data", &b->data_len); break;
	case OPT_DIR: b->dir = optarg; break;
	case OPT_JSON: b->json = true; break;
	default: code = EXIT_CODE_USAGE;
	}
	return code;
}

/* A power of two for the area, whole MiB for the data. */
static int guest_settle(struct guest_bench *b)
{
	uint64_t area_len = 1 << 20;

	if (!b->area_len)
		b->area_len = UINT64_C(1) << (b->kind == LOAD_ALLOC ? 33 : 30);
	if ((b->area_len | b->data_len) >> 44)
		return complain_usage("guest", "--size and --data: at most 16 TiB");
	while (area_len < b->area_len)
		area_len *= 2;
	b->area_len = area_len;
	b->data_len = b->with_pull ? (b->data_len + (1 << 20) - 1) >> 20 << 20 : 0;
	return 0;
}

int guest_main(int argc, char **argv)
{
	struct guest_bench b = { .format = BPULL_FORMAT_QCOW2,
				 .depth = 1,
				 .seconds = 10,
				 .data_len = UINT64_C(4) << 30 };
	int code = commands_parse(argc, argv, guest_options, guest_take_option, &b);
	struct guest_result *result;

	if (!code)
		code = guest_settle(&b);
	if (!code)
		code = place_enter(b.dir, guest_room(&b));
	if (code)
		return code;
	result = calloc(1, sizeof(*result));
	code = result ? guest_measure(&b, result) : complain_system("memory");
	if (!code && b.json)
		code = guest_print_json(&b, result);
	else if (!code)
		guest_print_text(&b, result);
	free(result);
	return code;
}
