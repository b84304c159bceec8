/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Each is run often enough to take --seconds, found by doubling, and the best of
 * three such runs counts: whatever disturbs only makes it slower. A library for
 * this was rejected: it would be larger than what it measures.
 *
 *   blockpull-microbench [--seconds X] [--dir DIR] [--json] [NAME...]
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <json-c/json_object.h>

#include "bench/micro/micro.h"

#define N_BEST 3

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + t.tv_nsec / 1e9;
}

static int timed(const struct micro *m, uint64_t n, double *seconds)
{
	double begin = now();
	int rc = m->run(n);

	*seconds = now() - begin;
	return rc;
}

/* Units a second. */
static int measure(const struct micro *m, double seconds, double *rate)
{
	uint64_t n = 1;
	double took, best;
	int rc;

	while (!(rc = timed(m, n, &took)) && took < seconds && n < UINT64_C(1) << 40)
		n *= took * 2 < seconds ? 2 : 1 + (took < seconds);
	best = took;
	for (int i = 1; i < N_BEST && !rc; i++) {
		rc = timed(m, n, &took);
		best = took < best ? took : best;
	}
	*rate = (double)n * m->per_run / best;
	return rc;
}

static bool is_wanted(const char *name, char **names, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return true;
	return !n;
}

struct request {
	double seconds;
	char **names;
	int n_names, n_found;
	struct json_object *json; /* an array; NULL: text */
};

static int run_table(const struct micro *table, unsigned n, struct request *r)
{
	double rate;

	for (unsigned i = 0; i < n; i++) {
		struct json_object *row;
		int rc;

		if (!is_wanted(table[i].name, r->names, r->n_names))
			continue;
		rc = measure(&table[i], r->seconds, &rate);
		if (rc) {
			fprintf(stderr, "blockpull-microbench: %s: %s\n", table[i].name,
				strerror(-rc));
			return 1;
		}
		r->n_found++;
		if (!r->json) {
			printf("%-24s %12.4g %s/s\n", table[i].name, rate, table[i].unit);
			continue;
		}
		row = json_object_new_object();
		json_object_object_add(row, "name", json_object_new_string(table[i].name));
		json_object_object_add(row, "unit", json_object_new_string(table[i].unit));
		json_object_object_add(row, "per_second", json_object_new_double(rate));
		json_object_array_add(r->json, row);
	}
	return 0;
}

static int usage(FILE *out, int code)
{
	fputs("Usage: blockpull-microbench [--seconds X] [--dir DIR] [--json] [NAME...]\n\nNames:",
	      out);
	for (unsigned i = 0; i < n_micro_tables; i++)
		fprintf(out, " %s", micro_tables[i].name);
	for (unsigned i = 0; i < n_micro_bytes; i++)
		fprintf(out, " %s", micro_bytes[i].name);
	for (unsigned i = 0; i < n_micro_guest; i++)
		fprintf(out, " %s", micro_guest[i].name);
	fputs("\n", out);
	return code;
}

static int run_all(struct request *r, const char *dir)
{
	int rc = micro_tables_open(dir), code = 1;

	if (!rc)
		rc = micro_bytes_open();
	if (!rc)
		rc = micro_guest_open(dir);
	if (rc)
		fprintf(stderr, "blockpull-microbench: %s\n", strerror(-rc));
	else
		code = run_table(micro_tables, n_micro_tables, r) ||
		       run_table(micro_bytes, n_micro_bytes, r) ||
		       run_table(micro_guest, n_micro_guest, r);
	micro_guest_close();
	micro_bytes_close();
	micro_tables_close();
	if (!code && r->n_found < r->n_names)
		return usage(stderr, 2);
	if (!code && r->json)
		puts(json_object_to_json_string_ext(r->json, JSON_C_TO_STRING_PRETTY));
	json_object_put(r->json);
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "dir", required_argument, NULL, 'd' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct request r = { .seconds = .5 };
	const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	bool as_json = false;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 's': r.seconds = strtod(optarg, NULL); break;
		case 'd': dir = optarg; break;
		case 'j': as_json = true; break;
		case 'h': return usage(stdout, 0);
		default: return usage(stderr, 2);
		}
	}
	if (!(r.seconds > 0))
		return usage(stderr, 2);
	r.names = argv + optind;
	r.n_names = argc - optind;
	r.json = as_json ? json_object_new_array() : NULL;
	return run_all(&r, dir);
}
