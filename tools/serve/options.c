/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The options of blockpull serve. Those that QEMU's vhost-user documentation
 * wants of a backend program (--socket-path, --fd, --print-capabilities, and for
 * disks --blk-file, --read-only) mean what it says.
 */
#include "tools/serve/options.h"

#include <stdlib.h>
#include <string.h>

#include "tools/cli/host_budget.h"
#include "tools/cli/rates.h"
#include "tools/cli/say.h"
#include "tools/serve/capabilities.h"
#include "tools/serve/serve.h"
#include "tools/serve/together.h"
#include "tools/vhost/blk.h"
#include "tools/words/exit_code.h"

#define SERVE_MAX_QUEUES 256

static const char serve_help[] =
	"Usage: blockpull serve --socket-path PATH [OPTION...] IMAGE\n"
	"\n"
	"Serves IMAGE as a disk to a virtual machine, over vhost-user: to QEMU, Cloud\n"
	"Hypervisor, Firecracker, crosvm. The machine may come and go, and so may this\n"
	"program: a new one goes on where a killed one was.\n"
	"\n"
	"Options:\n"
	"  --socket-path PATH   listen at PATH\n"
	"  --fd N               use descriptor N: a socket that listens, or is connected\n"
	"                       (then the program ends with the connection)\n"
	"  --blk-file IMAGE     another way to name the image\n"
	"  --incoming           another process has the image still: take it when the machine\n"
	"                       starts its rings\n"
	"  -r, --read-only      the machine may not write\n"
	"  --serial TEXT        the disk's serial number: up to 20 bytes\n"
	"                       (default: made from the image's name)\n"
	"  --queues N           offer N queues (default 16)\n"
	"  --pull               copy what the image reads from its backing chain into it\n"
	"                       meanwhile, then drop the link; goes on after each start\n"
	"  --bandwidth RATE     of a pull: at most RATE bytes a second\n"
	"  --iops N             of a pull: at most N reads and writes a second\n"
	"  --within TIME        of a pull: be done in TIME (30m), raising the limit where it\n"
	"                       is late\n"
	"  --min-rate RATE      of a pull: give way to the machine only above RATE bytes a\n"
	"                       second\n"
	"  --guest-p99 TIME     of a pull: give way so that 99 of 100 of the machine's requests\n"
	"                       take less than TIME (5ms), but never below --min-rate\n"
	"  --host-budget FILE[:RATE]\n"
	"                       take what pulls read from a budget that all processes share\n"
	"                       which name FILE: RATE bytes a second together\n"
	"  --base FILE          of a pull: stop above FILE of the chain\n"
	"  --first FILE[:SIZE]  of a pull: copy first what a trace names, or SIZE bytes of it\n"
	"  --verify             of a pull: read back what was copied before the link goes\n"
	"  --accept-mixed       of a pull: pull an image that is marked\n"
	"  --copy-on-read       copy what the machine reads from the chain into the image\n"
	"  --trace FILE         record what the machine touches first, and write it now and then\n"
	"                       and at the end; see blockpull trace\n"
	"  --control SOCKET     be steered through a socket; see blockpull ctl\n"
	"  --node-name NAME     the image's name for clients of that socket, then its backing\n"
	"                       file's, and so on; repeatable\n"
	"  --snapshot-dir DIR   clients of that socket may have new images made below DIR, and\n"
	"                       images there written to; repeatable\n"
	"  --direct             use the image past the page cache (O_DIRECT)\n" OPTIONS_CHAIN_HELP
		OPTIONS_REMOTE_HELP "  --remote-timeout SECONDS\n"
	"                       how long a server may be away before an error says so\n"
	"                       (default 300)\n"
	"  --guest-timeout SECONDS\n"
	"                       the same before a request of the machine fails and a pull\n"
	"                       pauses (default 30)\n" OPTIONS_TLS_HELP OPTIONS_EXPECT_HELP
	"  -f, --format FMT     the image's format: raw, qcow2 or qed (default: detected;\n"
	"                       raw must be said)\n"
	"  --holes MODE         auto, read or trust: which holes of raw files are left out\n"
	"  --io MODE            auto, uring or threads\n" OPTIONS_MEMORY_HELP
	"  --print-capabilities print what the program can do as JSON, and end\n"
	"  -q, --quiet          no notes; errors, warnings and what was mended only\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n"
	"\n"
	"SIGTERM or SIGINT ends it: what is in flight is finished and made durable, the\n"
	"exit code is 0. See blockpull-serve(1).\n";

enum {
	SERVE_ACCEPT_MIXED = OPTIONS_OWN,
	SERVE_BANDWIDTH,
	SERVE_BASE,
	SERVE_BLK_FILE,
	SERVE_CAPABILITIES,
	SERVE_CONTROL,
	SERVE_COPY_ON_READ,
	SERVE_DIRECT,
	SERVE_FD,
	SERVE_FIRST,
	SERVE_INCOMING,
	SERVE_IO,
	SERVE_MEMORY,
	SERVE_NODE_NAME,
	SERVE_PULL,
	SERVE_QUEUE_NUMBER,
	SERVE_SERIAL,
	SERVE_SNAPSHOT_DIR,
	SERVE_SOCKET,
	SERVE_TRACE,
	SERVE_VERIFY,
};

static const struct option serve_table[] = {
	{ "accept-mixed", no_argument, NULL, SERVE_ACCEPT_MIXED },
	{ "bandwidth", required_argument, NULL, SERVE_BANDWIDTH },
	{ "base", required_argument, NULL, SERVE_BASE },
	{ "blk-file", required_argument, NULL, SERVE_BLK_FILE },
	{ "control", required_argument, NULL, SERVE_CONTROL },
	{ "copy-on-read", no_argument, NULL, SERVE_COPY_ON_READ },
	{ "direct", no_argument, NULL, SERVE_DIRECT },
	{ "fd", required_argument, NULL, SERVE_FD },
	{ "first", required_argument, NULL, SERVE_FIRST },
	{ "incoming", no_argument, NULL, SERVE_INCOMING },
	{ "io", required_argument, NULL, SERVE_IO },
	{ "memory", required_argument, NULL, SERVE_MEMORY },
	{ "node-name", required_argument, NULL, SERVE_NODE_NAME },
	{ "print-capabilities", no_argument, NULL, SERVE_CAPABILITIES },
	{ "pull", no_argument, NULL, SERVE_PULL },
	{ "queues", required_argument, NULL, SERVE_QUEUE_NUMBER },
	{ "read-only", no_argument, NULL, 'r' },
	{ "serial", required_argument, NULL, SERVE_SERIAL },
	{ "snapshot-dir", required_argument, NULL, SERVE_SNAPSHOT_DIR },
	{ "socket-path", required_argument, NULL, SERVE_SOCKET },
	{ "trace", required_argument, NULL, SERVE_TRACE },
	{ "verify", no_argument, NULL, SERVE_VERIFY },
	OPTIONS_CHAIN,
	OPTIONS_REMOTE,
	OPTIONS_REMOTE_READ,
	OPTIONS_REMOTE_EXPECT,
	OPTIONS_REMOTE_GUEST,
	OPTIONS_HOLES,
	RATES_GUEST_OPTIONS,
	HOST_BUDGET_OPTION,
	OPTIONS_QUIET,
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct options_word serve_io_words[] = {
	{ "auto", BPULL_IO_AUTO },
	{ "uring", BPULL_IO_URING },
	{ "threads", BPULL_IO_THREADS },
	{ NULL, 0 },
};

static const struct offer serve_offers[] = {
	{ "bandwidth", OFFER_FREE, NULL },    { "base", OFFER_FILES, NULL },
	{ "blk-file", OFFER_FILES, NULL },    { "control", OFFER_FILES, NULL },
	{ "fd", OFFER_FREE, NULL },           { "io", OFFER_WORDS, serve_io_words },
	{ "queues", OFFER_FREE, NULL },       { "serial", OFFER_FREE, NULL },
	{ "socket-path", OFFER_FILES, NULL }, { "first", OFFER_FILES, NULL },
	{ "trace", OFFER_FILES, NULL },       { "memory", OFFER_FREE, NULL },
	{ "node-name", OFFER_FREE, NULL },    { "snapshot-dir", OFFER_DIRS, NULL },
	{ NULL, OFFER_FREE, NULL },
};

static int serve_take_number(const char *option, const char *text, unsigned long min,
			     unsigned long max, unsigned long *number)
{
	char *end;

	*number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || *number < min || *number > max)
		return say_usage("serve", "%s: '%s' is not a number from %lu to %lu", option, text,
				 min, max);
	return 0;
}

static int serve_take_queues(struct serve_options *options, const char *text)
{
	unsigned long number = 0;
	int code = serve_take_number("--queues", text, 1, SERVE_MAX_QUEUES, &number);

	options->n_queues = number;
	return code;
}

static int serve_take_fd(struct serve_options *options, const char *text)
{
	unsigned long number = 0;
	int code = serve_take_number("--fd", text, 0, 1 << 20, &number);

	if (!code && options->fd_given)
		return say_usage("serve", "--fd is given twice");
	options->fd = number;
	options->fd_given = true;
	return code;
}

static int serve_take_io(struct serve_options *options, const char *text)
{
	int value = 0;
	int code = options_word("serve", "--io", text, serve_io_words, &value);

	options->engine.io = value;
	return code;
}

static int serve_take_serial(struct serve_options *options, const char *text)
{
	options->serial = text;
	if (strlen(text) > BLK_ID_LEN)
		return say_usage("serve", "--serial: '%s' is longer than %u bytes", text,
				 BLK_ID_LEN);
	return 0;
}

static int serve_take_node_name(struct serve_options *options, const char *text)
{
	char why[CONTROL_WHY_CAP];

	if (control_names_take(&options->names, text, why))
		return say_usage("serve", "--node-name: %s", why);
	return 0;
}

static int serve_take_dir(struct serve_options *options, const char *text)
{
	int rc = fence_add(&options->fence, text);

	return rc ? say_usage("serve", "--snapshot-dir: '%s': %s", text, strerror(-rc)) : 0;
}

static int serve_take_first(struct serve_options *options, const char *text)
{
	char why[TRACE_WHY_CAP];

	options->pull_option = "--first";
	if (first_take(&options->first, text, why))
		return say_usage("serve", "--first: %s", why);
	first_apply(&options->first, &options->job);
	return 0;
}

/* What only a pull has. 0: taken; -1: it is none of them; else an exit code. */
static int serve_take_pull(struct serve_options *options, int option, const char *text)
{
	int code;

	switch (option) {
	case SERVE_ACCEPT_MIXED:
		options->job.flags |= BPULL_JOB_ACCEPT_MIXED;
		options->pull_option = "--accept-mixed";
		return 0;
	case SERVE_BANDWIDTH:
		options->pull_option = "--bandwidth";
		return options_size("serve", "--bandwidth", text, SIZE_RATE,
				    &options->job.bandwidth);
	case SERVE_BASE:
		options->job.base = text;
		options->pull_option = "--base";
		return 0;
	case SERVE_FIRST: return serve_take_first(options, text);
	case SERVE_VERIFY:
		options->job.flags |= BPULL_JOB_VERIFY;
		options->pull_option = "--verify";
		return 0;
	default: break;
	}
	code = rates_take(&options->job, "serve", option, text);
	if (rates_given(&options->job))
		options->pull_option = rates_given(&options->job);
	return code;
}

static int serve_take(struct command_line *line, int option, char *text)
{
	struct serve_options *options = (struct serve_options *)line;

	switch (option) {
	case SERVE_BLK_FILE: return options_once("serve", "--blk-file", text, &options->image);
	case SERVE_CAPABILITIES: options->print_capabilities = true; return 0;
	case SERVE_CONTROL: return options_once("serve", "--control", text, &options->control);
	case SERVE_COPY_ON_READ: options->copy_on_read = true; return 0;
	case SERVE_DIRECT: line->chain.disk.flags |= BPULL_DISK_DIRECT; return 0;
	case SERVE_FD: return serve_take_fd(options, text);
	case OPTIONS_HOST_BUDGET:
		options->pull_option = "--host-budget";
		return options_once("serve", "--host-budget", text, &options->host_budget);
	case SERVE_INCOMING: options->incoming = true; return 0;
	case SERVE_IO: return serve_take_io(options, text);
	case SERVE_MEMORY: return options_memory("serve", text, &options->engine.memory);
	case SERVE_NODE_NAME: return serve_take_node_name(options, text);
	case SERVE_PULL: options->pull = true; return 0;
	case SERVE_QUEUE_NUMBER: return serve_take_queues(options, text);
	case SERVE_SERIAL: return serve_take_serial(options, text);
	case SERVE_SNAPSHOT_DIR: return serve_take_dir(options, text);
	case SERVE_SOCKET:
		return options_once("serve", "--socket-path", text, &options->socket_path);
	case SERVE_TRACE: return options_once("serve", "--trace", text, &options->trace);
	case 'r': options->read_only = true; return 0;
	default: return serve_take_pull(options, option, text);
	}
}

static int serve_main(struct command_line *line)
{
	struct serve_options *options = (struct serve_options *)line;

	int code;

	if (options->print_capabilities)
		return capabilities_print();
	code = host_budget_open(options->host_budget, &options->engine, &options->budget);
	if (!code)
		code = serve_run(options);
	host_budget_close(options->budget);
	return code;
}

static void serve_forget(struct command_line *line)
{
	struct serve_options *options = (struct serve_options *)line;

	fence_free(&options->fence);
	first_free(&options->first);
}

const struct command serve_command = {
	.name = "serve",
	.summary = "be a virtual machine's disk (vhost-user)",
	.help = serve_help,
	.letters = ":f:hqr",
	.options = serve_table,
	.offers = serve_offers,
	.line_size = sizeof(struct serve_options),
	.min_words = 0,
	.max_words = 1,
	.too_few = "an image's name is missing",
	.too_many = "serve has one image",
	.take = serve_take,
	.check = together_check,
	.run = serve_main,
	.forget = serve_forget,
};
