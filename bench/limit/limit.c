/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench limit: pulls under a limit, and whether it is kept: in every
 * second, wherever it begins, and in every tenth of one; and whether several jobs
 * get the same share. Bytes are the jobs' own count of what they copied, asked
 * for every millisecond by a thread of its own.
 *
 * A second's worst is looked for after the first one, in which the job starts; a
 * tenth's from the beginning, because a limit is a promise to others.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/limit/limit.h"
#include "bench/rig/complain.h"
#include "bench/rig/machine.h"
#include "bench/rig/place.h"
#include "bench/rig/scene.h"
#include "tools/budget/page.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define MAX_RATES   16
#define MAX_SECONDS 3600
#define STEP_NS     UINT64_C(100000000)
#define SECOND_NS   UINT64_C(1000000000)
#define GAP_NS      UINT64_C(20000000) /* between two samples: worth telling */

const char limit_help[] =
	"Usage: blockpull-bench limit [OPTION...]\n"
	"\n"
	"Pulls under each rate for some seconds and looks for the worst window of one second\n"
	"and of a tenth. Several jobs share the rate; so do several processes, by a budget\n"
	"of the host, as --host-budget of 'blockpull pull' has it.\n"
	"\n"
	"Options:\n"
	"  --rate RATE        one to try; repeatable (default: 1M, 10M, 100M and 1G)\n"
	"  --jobs N           pulls at once, 1 to 16 (default: 1)\n"
	"  --processes N      in place of jobs: pulls of a process each, 1 to 16\n"
	"  --kill             with processes: the first of them is killed half way\n"
	"  --seconds N        for each rate (default: 10)\n"
	"  --data SIZE        at most for each rate; a pull that has copied all ends early\n"
	"                     (default: 4G)\n"
	"  --dir DIR          where the files go (default: TMPDIR, else /var/tmp)\n"
	"  --json             as JSON, for 'blockpull-bench report'\n"
	"  -h, --help         this text\n";

enum {
	OPT_RATE = 256,
	OPT_JOBS,
	OPT_PROCESSES,
	OPT_KILL,
	OPT_SECONDS,
	OPT_DATA,
	OPT_DIR,
	OPT_JSON,
};

const struct option limit_options[] = {
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "jobs", required_argument, NULL, OPT_JOBS },
	{ "processes", required_argument, NULL, OPT_PROCESSES },
	{ "kill", no_argument, NULL, OPT_KILL },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

struct bench {
	uint64_t rates[MAX_RATES];
	unsigned n_rates;
	uint64_t n_jobs, n_processes, seconds, data_len; /* 0: not said */
	const char *dir;
	bool kill, json;
};

/* A host's budget saves up so much for an idle time; and each process may be a run late. */
#define BUDGET_BURST_PARTS 20 /* of a second */
#define RUN_LEN            (UINT64_C(1) << 20)

/* Of one rate. */
struct verdict {
	double mean;       /* of the rate */
	bool has_second;   /* else the run was too short */
	double second_low; /* the worst seconds, of the rate */
	double second_high;
	bool has_tenth;
	uint64_t tenth_bytes, tenth_allowed;
	double share_low, share_high; /* of a job's fair share, of those that were not killed */
	double after_kill;            /* of the rate */
};

/* What is measured, beside the run itself. */
struct limit_kind {
	bool are_processes;
	uint64_t killed_ns; /* the first one, so long after the beginning; 0: none */
};

static void limit_judge_shares(const struct limit_run *run, const struct limit_kind *kind,
			       struct verdict *v)
{
	unsigned first = kind->killed_ns ? 1 : 0, n = run->n_jobs - first;
	uint64_t end_ns = run->series[0]->samples[run->series[0]->n - 1].at_ns, total = 0;

	for (unsigned i = first; i < run->n_jobs; i++)
		total += series_at(run->series[1 + i], end_ns);
	for (unsigned i = first; i < run->n_jobs && total; i++) {
		double share = (double)series_at(run->series[1 + i], end_ns) * n / total;

		v->share_low = i == first || share < v->share_low ? share : v->share_low;
		v->share_high = i == first || share > v->share_high ? share : v->share_high;
	}
}

static uint64_t limit_burst(const struct limit_run *run, const struct limit_kind *kind)
{
	return kind->are_processes ? run->rate / BUDGET_BURST_PARTS + run->n_jobs * RUN_LEN
				   : run->rate / 10;
}

/* Of jobs: a run that the device, or the machine, held up ends with those after it. */
static uint64_t limit_late_len(const struct limit_run *run, const struct limit_kind *kind)
{
	uint64_t len = run->rate / 10 < RUN_LEN ? run->rate / 10 : RUN_LEN;

	return kind->are_processes ? 0 : len;
}

static struct verdict limit_judge(const struct limit_run *run, const struct limit_kind *kind)
{
	const struct series *all = run->series[0];
	uint64_t end_ns = all->samples[all->n - 1].at_ns;
	struct verdict v = { .share_low = 1, .share_high = 1 };
	struct series_window w;
	uint64_t total = series_at(all, end_ns);

	v.mean = end_ns ? total * 1e9 / end_ns / run->rate : 0;
	v.has_second = series_windows(all, SECOND_NS, SECOND_NS, &w);
	if (v.has_second) {
		v.second_low = (double)w.min_bytes / run->rate;
		v.second_high = (double)w.max_bytes / run->rate;
	}
	v.has_tenth = series_windows(all, 0, SECOND_NS / 10, &w);
	v.tenth_bytes = v.has_tenth ? w.max_bytes : 0;
	v.tenth_allowed = run->rate / 10 + limit_burst(run, kind) + limit_late_len(run, kind);
	limit_judge_shares(run, kind, &v);
	if (kind->killed_ns && end_ns > kind->killed_ns)
		v.after_kill = (total - series_at(all, kind->killed_ns)) * 1e9 /
			       (end_ns - kind->killed_ns) / run->rate;
	return v;
}

static void limit_add_double(struct json_object *to, const char *name, bool has, double value)
{
	json_object_object_add(to, name, has ? json_object_new_double(value) : NULL);
}

static struct json_object *limit_json_run(const struct limit_run *run,
					  const struct limit_kind *kind)
{
	struct json_object *object = json_object_new_object(), *jobs = json_object_new_array();
	const struct series *all = run->series[0];
	uint64_t end_ns = all->samples[all->n - 1].at_ns;
	struct verdict v = limit_judge(run, kind);

	json_object_object_add(object, "rate", json_object_new_uint64(run->rate));
	json_object_object_add(object, "burst", json_object_new_uint64(limit_burst(run, kind)));
	json_object_object_add(object, "jobs", json_object_new_int((int)run->n_jobs));
	json_object_object_add(object, "are_processes",
			       json_object_new_boolean(kind->are_processes));
	limit_add_double(object, "killed_seconds", kind->killed_ns, kind->killed_ns / 1e9);
	limit_add_double(object, "after_kill_of_rate", kind->killed_ns, v.after_kill);
	limit_add_double(object, "seconds", true, end_ns / 1e9);
	json_object_object_add(object, "ended_early", json_object_new_boolean(run->ended_early));
	limit_add_double(object, "longest_sample_gap_seconds", true,
			 series_longest_gap_ns(all) / 1e9);
	json_object_object_add(object, "bytes", json_object_new_uint64(series_at(all, end_ns)));
	limit_add_double(object, "mean_of_rate", true, v.mean);
	limit_add_double(object, "second_low_of_rate", v.has_second, v.second_low);
	limit_add_double(object, "second_high_of_rate", v.has_second, v.second_high);
	json_object_object_add(object, "tenth_max_bytes",
			       v.has_tenth ? json_object_new_uint64(v.tenth_bytes) : NULL);
	json_object_object_add(object, "tenth_allowed_bytes",
			       json_object_new_uint64(v.tenth_allowed));
	limit_add_double(object, "share_low", true, v.share_low);
	limit_add_double(object, "share_high", true, v.share_high);
	json_object_object_add(object, "throughput", series_json(all, STEP_NS));
	for (unsigned i = 0; i < run->n_jobs; i++)
		json_object_array_add(jobs, series_json(run->series[1 + i], STEP_NS));
	json_object_object_add(object, "job_throughput", jobs);
	return object;
}

static void limit_print_head(const struct bench *b)
{
	if (b->json)
		return;
	printf("%llu %s, up to %llu s for each rate; parts of the rate, worst second after the "
	       "first\n  %-10s %8s %8s %8s %8s %22s %15s\n",
	       (unsigned long long)b->n_jobs,
	       b->n_processes ? "processes under one budget" : "jobs",
	       (unsigned long long)b->seconds, "rate", "seconds", "mean", "lowest", "highest",
	       "worst 0.1 s / allowed", "shares");
}

static void limit_print_row(const struct limit_run *run, const struct limit_kind *kind)
{
	const struct series *all = run->series[0];
	char rate[SIZE_TEXT_CAP], tenth[SIZE_TEXT_CAP], allowed[SIZE_TEXT_CAP];
	struct verdict v = limit_judge(run, kind);

	printf("  %-10s %8.2f %8.4f ", size_text(run->rate, rate),
	       all->samples[all->n - 1].at_ns / 1e9, v.mean);
	if (v.has_second)
		printf("%8.4f %8.4f ", v.second_low, v.second_high);
	else
		printf("%8s %8s ", "-", "-");
	printf("%10s/%-10s %7.3f-%.3f%s\n", size_text(v.tenth_bytes, tenth),
	       size_text(v.tenth_allowed, allowed), v.share_low, v.share_high,
	       run->ended_early ? "  (all was copied)" : "");
	if (kind->killed_ns)
		printf("  %10s  one was killed after %.2f s: from then on the others had %.4f\n",
		       "", kind->killed_ns / 1e9, v.after_kill);
	if (series_longest_gap_ns(all) > GAP_NS)
		printf("  %10s  the machine was busy: no sample for %.0f ms, which the windows "
		       "may show\n",
		       "", series_longest_gap_ns(all) / 1e6);
	fflush(stdout);
}

static int limit_take_option(void *bench, int option)
{
	struct bench *b = bench;
	int code = 0;

	switch (option) {
	case OPT_RATE:
		if (b->n_rates == MAX_RATES)
			return complain_usage("limit", "--rate: at most %d rates", MAX_RATES);
		code = commands_rate("limit", "--rate", &b->rates[b->n_rates]);
		if (!code && (b->rates[b->n_rates] < 1024 || b->rates[b->n_rates] >> 40))
			code = complain_usage("limit", "--rate '%s': from 1K to 1T is measured",
					      optarg);
		b->n_rates++;
		break;
	case OPT_JOBS:
		code = commands_count("limit", "--jobs", 1, LIMIT_MAX_JOBS, &b->n_jobs);
		break;
	case OPT_PROCESSES:
		code = commands_count("limit", "--processes", 1, LIMIT_MAX_JOBS, &b->n_processes);
		break;
	case OPT_KILL: b->kill = true; break;
	case OPT_SECONDS:
		code = commands_count("limit", "--seconds", 1, MAX_SECONDS, &b->seconds);
		break;
	case OPT_DATA: code = commands_size("limit", "--data", &b->data_len); break;
	case OPT_DIR: b->dir = optarg; break;
	case OPT_JSON: b->json = true; break;
	default: code = EXIT_CODE_USAGE;
	}
	return code;
}

static int limit_parse(struct bench *b, int argc, char **argv)
{
	int code = commands_parse(argc, argv, limit_options, limit_take_option, b);

	for (unsigned i = 0; !b->n_rates && i < 4; i++) {
		static const uint64_t mib[] = { 1, 10, 100, 1024 };

		b->rates[i] = mib[i] << 20;
	}
	if (!b->n_rates)
		b->n_rates = 4;
	if (!code && b->data_len >> 44)
		code = complain_usage("limit", "--data: at most 16 TiB");
	if (!code && b->n_jobs && b->n_processes)
		code = complain_usage("limit", "--jobs and --processes: only one of them");
	if (!code && b->kill && b->n_processes < 2)
		code = complain_usage("limit", "--kill: it needs --processes, two at least");
	for (unsigned i = 0; !code && b->n_processes && i < b->n_rates; i++)
		if (b->rates[i] > BUDGET_MAX_RATE)
			code = complain_usage("limit", "--rate: a budget has 16 GiB/s at most");
	if (!b->n_jobs)
		b->n_jobs = b->n_processes ? b->n_processes : 1;
	return code;
}

/* What one job has to copy under a rate, so that it is not done before the time is over. */
static uint64_t limit_job_len(const struct bench *b, uint64_t rate)
{
	uint64_t len = rate * (b->seconds + 1);

	if (len > b->data_len)
		len = b->data_len;
	/* What a killed one leaves is the others'. */
	return (len / (b->n_jobs - b->kill) + (2 << 20) - 1) >> 20 << 20;
}

static int limit_one_rate(const struct bench *b, uint64_t rate, struct limit_run *run,
			  struct limit_kind *kind)
{
	int code;

	run->rate = rate;
	run->seconds = b->seconds;
	code = scene_raw("base", limit_job_len(b, rate), 0, limit_job_len(b, rate));

	sync();
	if (!code) {
		place_touch_memory(limit_job_len(b, rate) * b->n_jobs + (64 << 20));
		code = b->n_processes
			       ? limit_measure_processes(run, b->kill ? &kind->killed_ns : NULL)
			       : limit_measure(run);
	}
	return code;
}

int limit_main(int argc, char **argv)
{
	struct bench b = { .seconds = 10, .data_len = UINT64_C(4) << 30 };
	int code = limit_parse(&b, argc, argv);
	struct json_object *head, *runs;
	struct limit_kind kind = { .are_processes = b.n_processes > 0 };
	struct limit_run run;
	uint64_t longest = 0;

	for (unsigned i = 0; i < b.n_rates && !code; i++)
		if (limit_job_len(&b, b.rates[i]) > longest)
			longest = limit_job_len(&b, b.rates[i]);
	if (!code)
		code = place_enter(b.dir, longest * (b.n_jobs + 1) + (64 << 20));
	if (code)
		return code;
	head = machine_head("limit");
	runs = json_object_new_array();
	code = limit_run_init(&run, (unsigned)b.n_jobs);
	limit_print_head(&b);
	for (unsigned i = 0; i < b.n_rates && !code; i++) {
		code = limit_one_rate(&b, b.rates[i], &run, &kind);
		if (!code && b.json)
			json_object_array_add(runs, limit_json_run(&run, &kind));
		else if (!code)
			limit_print_row(&run, &kind);
	}
	json_object_object_add(head, "runs", runs);
	if (!code && b.json)
		return machine_print(head);
	json_object_put(head);
	return code;
}
