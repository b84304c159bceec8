/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The options of blockpull pull. What can be known to be wrong without touching
 * an image is refused here, before any of several images is begun.
 *
 * No option can be read from a file, as names can (--list): a pull's rights
 * (--allow-backing) must be visible where it is started.
 */
#include "tools/pull/options.h"

#include <stdlib.h>

#include "tools/cli/say.h"
#include "tools/pull/metrics_file.h"
#include "tools/pull/names.h"
#include "tools/words/exit_code.h"

#define PULL_JOBS_MAX 256

static const char pull_help[] =
	"Usage: blockpull pull [OPTION...] IMAGE...\n"
	"       blockpull pull [OPTION...] --list FILE\n"
	"\n"
	"Copies what each image reads from its backing chain into it, then drops the\n"
	"link to its backing file. The image is valid at every moment: a stopped or\n"
	"broken pull is continued by running it again.\n"
	"\n"
	"Options:\n"
	"  --bandwidth RATE     at most RATE bytes a second for all images together\n"
	"                       (50M, 50M/s, 1.5G; default 0: no limit)\n"
	"  --base FILE          stop above FILE of the chain and make it the new backing\n"
	"                       file (default: copy all, and have none)\n"
	"  --burst SIZE         bytes that may follow an idle time at once\n"
	"                       (default: a tenth of a second's worth)\n"
	"  --control SOCKET     be steered through a socket meanwhile; see blockpull ctl\n"
	"  --copy MODE          auto: share blocks with the backing files where the file\n"
	"                       system can (XFS, btrfs), else copy; clone: fail where it\n"
	"                       can't; read: always copy\n"
	"  --direct             write the image past the page cache (O_DIRECT), which is\n"
	"                       slower nearly everywhere\n"
	"  --first FILE[:SIZE]  copy first what a trace names, or SIZE bytes of it, in its order\n"
	"                       (blockpull trace); then the rest\n"
	"  --manual-finalize    keep the link until 'blockpull ctl SOCKET finalize'\n"
	"  --on-error WHAT      report: an I/O error ends the pull; stop: the pull waits to\n"
	"                       be resumed (blockpull ctl SOCKET resume, or SIGCONT);\n"
	"                       enospc: so for want of space only (default: report)\n"
	"  -j, --jobs N         pull N images at once (default 1)\n"
	"  --list FILE          pull the images that FILE names, one a line ('-': stdin);\n"
	"                       empty lines and those that begin with '#' are left out\n"
	"  -0, --null           names in FILE end with a NUL, as of find -print0\n"
	"  --shard I/N          of the names take only every N-th, from the I-th on (from 0)\n"
	"  --metrics-file FILE  keep FILE up to date with Prometheus metrics\n"
	"  --compress[=TYPE[:LEVEL]]\n"
	"                       write what is copied compressed (qcow2): zlib (level 1-9),\n"
	"                       zstd (1-19); default: the image's own type\n"
	"  --verify             before the link goes, read back from the disk what was copied\n"
	"                       and compare it; a difference keeps the link (exit 5)\n"
	"  --accept-mixed       pull an image that an earlier pull marked because a backing\n"
	"                       file changed under it; what comes out may be a mixture of\n"
	"                       two states\n"
	"  --allow-backing DIR  backing files may lie below DIR too, or be DIR (a file or\n"
	"                       device), not only below the image's own directory;\n"
	"                       repeatable; 'any': anywhere; 'none': nowhere\n"
	"                       (default: BLOCKPULL_ALLOW_BACKING)\n"
	"  --backing-format FMT format of backing files for which none is recorded;\n"
	"                       'auto': what they look like; FILE=FMT: of one of them,\n"
	"                       repeatable\n"
	"  --fd-map NAME=N      open no file: descriptor N is the file that the chain comes\n"
	"                       to as NAME, or records so; repeatable\n" OPTIONS_REMOTE_HELP
	"  --remote-timeout SECONDS\n"
	"                       how long a server may be away before the pull pauses\n"
	"                       (default 300)\n" OPTIONS_TLS_HELP OPTIONS_EXPECT_HELP
	"  -f, --format FMT     the images' format: qcow2 or qed (default: detected)\n"
	"  --holes MODE         auto: leave out the holes of raw files on file systems known\n"
	"                       to report them rightly; read: on none; trust: on any\n"
	"  --host-budget FILE[:RATE]\n"
	"                       take what is read from a budget that all processes share\n"
	"                       which name FILE: RATE bytes a second together\n"
	"  --io MODE            auto, uring or threads\n" OPTIONS_MEMORY_HELP
	"  --iops N             at most N reads and writes a second for all images together\n"
	"  --within TIME        be done with each image in TIME (30m, 1h30m, 90s), raising\n"
	"                       its limit where it is late; without --bandwidth as gently\n"
	"                       as that allows\n"
	"  --min-rate RATE      give way to others only above RATE bytes a second\n"
	"  --progress MODE      auto, bar, plain (a line every 10 s), json (lines on\n"
	"                       stdout, the results too), qemu (percents on stdout, as\n"
	"                       qemu-img -p prints them) or none\n"
	"  --json               a JSON line for each image's result on stdout\n"
	"  -n, --dry-run        say what would be copied and change nothing\n"
	"  -q, --quiet          neither progress nor summaries, only errors\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n"
	"\n"
	"SIGINT or SIGTERM stops cleanly and keeps what was copied, a second one exits\n"
	"at once; SIGUSR1 prints a line of progress. See blockpull-pull(1).\n";

enum {
	PULL_BASE = PULL_OWN,
	PULL_CONTROL,
	PULL_FIRST,
	PULL_LIST,
	PULL_MANUAL_FINALIZE,
	PULL_METRICS_FILE,
	PULL_SHARD,
};

static const struct option pull_table[] = {
	{ "base", required_argument, NULL, PULL_BASE },
	{ "control", required_argument, NULL, PULL_CONTROL },
	{ "first", required_argument, NULL, PULL_FIRST },
	{ "list", required_argument, NULL, PULL_LIST },
	{ "manual-finalize", no_argument, NULL, PULL_MANUAL_FINALIZE },
	{ "metrics-file", required_argument, NULL, PULL_METRICS_FILE },
	{ "null", no_argument, NULL, '0' },
	{ "shard", required_argument, NULL, PULL_SHARD },
	{ "jobs", required_argument, NULL, 'j' },
	OPTIONS_CHAIN,
	OPTIONS_REMOTE,
	OPTIONS_REMOTE_READ,
	OPTIONS_REMOTE_EXPECT,
	PULL_COMPRESS_OPTION,
	PULL_COPY_OPTION,
	PULL_DIRECT_OPTION,
	PULL_JOB_OPTIONS,
	PULL_OPTIONS,
	OPTIONS_HELP,
	OPTIONS_END,
};

const struct options_word pull_io_words[] = {
	{ "auto", BPULL_IO_AUTO },
	{ "uring", BPULL_IO_URING },
	{ "threads", BPULL_IO_THREADS },
	{ NULL, 0 },
};

const struct options_word pull_progress_words[] = {
	{ "auto", PROGRESS_AUTO },
	{ "bar", PROGRESS_BAR },
	{ "plain", PROGRESS_PLAIN },
	{ "json", PROGRESS_JSON },
	{ "qemu", PROGRESS_QEMU },
	{ "none", PROGRESS_NONE },
	{ NULL, 0 },
};

static const struct offer pull_offers[] = {
	{ "base", OFFER_FILES, NULL },
	{ "control", OFFER_FILES, NULL },
	{ "first", OFFER_FILES, NULL },
	{ "format", OFFER_WORDS, options_overlays },
	{ "jobs", OFFER_FREE, NULL },
	{ "list", OFFER_FILES, NULL },
	{ "metrics-file", OFFER_FILES, NULL },
	{ "shard", OFFER_FREE, NULL },
	PULL_COMPRESS_OFFER,
	PULL_COPY_OFFER,
	PULL_JOB_OFFERS,
	PULL_OFFERS,
};

static int pull_take_shard(struct pull_options *options, const char *text)
{
	if (options->shard.n)
		return say_usage("pull", "--shard is given twice");
	return shard_parse(&options->shard, text);
}

static int pull_take_first(struct pull_options *options, const char *text)
{
	char why[TRACE_WHY_CAP];

	if (first_take(&options->first, text, why))
		return say_usage("pull", "--first: %s", why);
	first_apply(&options->first, &options->job);
	return 0;
}

static int pull_take_jobs(struct pull_options *options, const char *text)
{
	char *end;
	unsigned long n_jobs = strtoul(text, &end, 10);
	if (*text < '1' || *text > '9' || *end || n_jobs > PULL_JOBS_MAX)
		return say_usage("pull", "--jobs: '%s' is not a number from 1 to %d", text,
				 PULL_JOBS_MAX);
	options->n_jobs = n_jobs;
	return 0;
}

static int pull_take_format(struct pull_options *options, const char *text)
{
	int value = 0;
	int code = options_word("pull", "--format", text, options_overlays, &value);

	options->line.chain.disk.format = value;
	return code;
}

static int pull_take_io(struct pull_options *options, const char *text)
{
	int value = 0;
	int code = options_word(options->line.command->name, "--io", text, pull_io_words, &value);

	options->engine.io = value;
	return code;
}

static int pull_take_progress(struct pull_options *options, const char *text)
{
	int value = 0;
	int code = options_word(options->line.command->name, "--progress", text,
				pull_progress_words, &value);

	options->progress = value;
	return code;
}

int pull_options_take(struct pull_options *options, int option, const char *text)
{
	const char *command = options->line.command->name;

	switch (option) {
	case PULL_BANDWIDTH:
		return options_size(command, "--bandwidth", text, SIZE_RATE,
				    &options->engine.bandwidth);
	case PULL_BURST:
		return options_size(command, "--burst", text, SIZE_BYTES, &options->engine.burst);
	case PULL_COMPRESS:
		return compression_parse(command, text, &options->job.compression,
					 &options->job.compression_level);
	case OPTIONS_HOST_BUDGET:
		return options_once(command, "--host-budget", text, &options->host_budget);
	case PULL_IO: return pull_take_io(options, text);
	case PULL_MEMORY: return options_memory(command, text, &options->engine.memory);
	case PULL_PROGRESS: return pull_take_progress(options, text);
	case PULL_VERIFY: options->job.flags |= BPULL_JOB_VERIFY; return 0;
	default: return rates_take(&options->job, command, option, text);
	}
}

/* A limit on requests is for all images, as that on bytes is; but where a job raises its own limit,
 * that is the job's. */
static int pull_share_rates(struct pull_options *options)
{
	struct bpull_job_options *job = &options->job;

	options->engine.iops = job->iops;
	job->iops = 0;
	if (!options->engine.bandwidth || !(job->within_ns || job->min_rate))
		return 0;
	if (options->n_jobs > 1)
		return say_usage("pull",
				 "%s raises the limit of one image, and --bandwidth is for all "
				 "that are pulled at once: with --jobs give one of the two",
				 rates_given(job));
	job->bandwidth = options->engine.bandwidth;
	job->burst = options->engine.burst;
	options->engine.bandwidth = options->engine.burst = 0;
	return 0;
}

int pull_options_finish(struct pull_options *options)
{
	const char *command = options->line.command->name;
	int code;

	options->engine.size = sizeof(options->engine);
	options->job.size = sizeof(options->job);
	if (!options->n_jobs)
		options->n_jobs = 1;
	if (options->engine.burst && !options->engine.bandwidth)
		return say_usage(command, "--burst has no meaning without --bandwidth");
	code = pull_share_rates(options);
	if (code)
		return code;
	if (options->progress == PROGRESS_JSON)
		options->line.json = true; /* a program that reads events waits for the last one */
	if (options->progress == PROGRESS_QEMU && options->line.json)
		return say_usage(command,
				 "--json and --progress=qemu both write to standard output");
	if (options->line.quiet && options->progress == PROGRESS_AUTO)
		options->progress = PROGRESS_NONE;
	return options_chain_finish(&options->line.chain, command);
}

static int pull_take(struct command_line *line, int option, char *text)
{
	struct pull_options *options = (struct pull_options *)line;
	int code = pull_options_take(options, option, text);

	if (code < 0)
		code = pull_job_options_take(options, option, text);
	if (code >= 0)
		return code;
	switch (option) {
	case 'f': return pull_take_format(options, text);
	case PULL_BASE: options->job.base = text; return 0;
	case PULL_CONTROL: return options_once("pull", "--control", text, &options->control);
	case PULL_FIRST: return pull_take_first(options, text);
	case PULL_LIST: return options_once("pull", "--list", text, &options->list);
	case PULL_MANUAL_FINALIZE: options->job.flags |= BPULL_JOB_MANUAL_FINALIZE; return 0;
	case PULL_METRICS_FILE:
		return options_once("pull", "--metrics-file", text, &options->metrics_file);
	case PULL_SHARD: return pull_take_shard(options, text);
	case '0': options->is_null_separated = true; return 0;
	case 'j': return pull_take_jobs(options, text);
	default: return -1;
	}
}

/* What only one image may have, and which options need others. */
static int pull_check_together(const struct pull_options *options)
{
	if (options->control && options->line.n_words > 1)
		return say_usage("pull", "--control is for one image");
	if (options->job.flags & BPULL_JOB_MANUAL_FINALIZE && !options->control)
		return say_usage("pull",
				 "--manual-finalize needs --control, to be told to finalize");
	return options->metrics_file ? metrics_file_check(options->metrics_file) : 0;
}

static int pull_check_all(struct pull_options *options)
{
	struct command_line *line = &options->line;
	int code = names_check(options);

	if (!code)
		code = pull_check_together(options);
	if (!code)
		code = pull_options_finish(options);
	if (!code && line->chain.fds.n && line->n_words != 1)
		code = say_usage("pull", "--fd-map goes with one image");
	if (!code && (line->n_words > 1 || line->chain.bases.expects.n)) {
		for (int i = 0; i < line->n_words; i++)
			options_chain_look(&line->chain, line->words[i], line->chain.disk.format);
		code = options_chain_judge(&line->chain, "pull");
	}
	return code;
}

static int pull_check(struct command_line *line)
{
	struct pull_options *options = (struct pull_options *)line;
	int code = pull_check_all(options);

	if (code)
		name_list_free(&options->names);
	if (options->control) { /* a limit that can be changed there is the job's */
		options->job.bandwidth += options->engine.bandwidth;
		options->job.burst += options->engine.burst;
		options->job.iops = options->engine.iops;
		options->engine.bandwidth = options->engine.burst = options->engine.iops = 0;
	}
	return code;
}

const struct command pull_command = {
	.name = "pull",
	.summary = "copy what an image reads from its backing chain into it",
	.help = pull_help,
	.letters = ":0f:hj:nq",
	.options = pull_table,
	.offers = pull_offers,
	.line_size = sizeof(struct pull_options),
	.take = pull_take,
	.check = pull_check,
	.run = names_run,
};
