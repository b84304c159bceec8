/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull ctl: its verbs, and what is said of a job.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/cli/rates.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/ctl/ctl_chain.h"
#include "tools/ctl/ctl_client.h"
#include "tools/ctl/ctl_job.h"
#include "tools/ctl/ctl_say.h"
#include "tools/ctl/verbs.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"
#include "tools/words/suggest.h"

static const char ctl_help[] =
	"Usage: blockpull ctl [OPTION...] SOCKET VERB [RATE|SIZE|N|TIME|NAME]\n"
	"\n"
	"Steers a pull, or a disk that is served, through its control socket: --control=SOCKET\n"
	"of blockpull pull and serve, control=SOCKET of the nbdkit plugin.\n"
	"\n"
	"Verbs:\n"
	"  info         how far it is, how fast, how long still; or how it ended; and\n"
	"               of a disk that is served what its users asked for\n"
	"  speed RATE   at most RATE bytes a second from now on (50M; 0: no limit)\n"
	"  iops N       at most N reads and writes a second (0: no limit)\n"
	"  within TIME  be done in TIME from now on (30m; 0: no matter when)\n"
	"  min-rate RATE  give way to others only above RATE bytes a second (0: always)\n"
	"  host-budget RATE  give all that share the pull's --host-budget RATE bytes a\n"
	"               second together\n"
	"  guest-p99 TIME  give way so that 99 of 100 of a guest's requests take less than\n"
	"               TIME (5ms; 0: no matter)\n"
	"  pause        stop copying; what was copied is made durable\n"
	"  resume       go on, also after an error stopped it\n"
	"  abort        end it; the image stays linked, and what was copied stays copied\n"
	"  finalize     drop the link of a pull that is ready (--manual-finalize)\n"
	"  resize SIZE  make a served disk SIZE bytes long (20G), or longer by it (+20G)\n"
	"  snapshot NAME  make a new overlay NAME the image of a served disk, now; what was\n"
	"               the image is below it, and keeps what it holds\n"
	"  commit       write what the image of a served disk holds into the file below it,\n"
	"               or into --base, and follow what the machine writes\n"
	"  complete     end such a commit: that file becomes the disk's image\n"
	"  wait         until it is over: exits with 0 if it completed, 1 if not\n"
	"\n"
	"Options:\n"
	"  --base FILE  commit: into FILE of the chain\n"
	"  --verify     commit: read back what was written and compare it, before the file\n"
	"               below becomes the disk's image\n"
	"  --json       info, wait: the job as a JSON line, as pull --json has it\n"
	"  --no-sandbox do without the seccomp filter\n"
	"  -h, --help   this text\n";

enum {
	CTL_BASE = OPTIONS_OWN,
	CTL_VERIFY,
};

static const struct option ctl_table[] = {
	{ "base", required_argument, NULL, CTL_BASE },
	{ "verify", no_argument, NULL, CTL_VERIFY },
	OPTIONS_JSON,
	OPTIONS_HELP,
	OPTIONS_END,
};

/* ---- verbs ---- */

static int ctl_simple(struct ctl_client *client, const char *verb, struct json_object *args)
{
	struct json_object *value = ctl_client_ask(client, verb, args);

	json_object_put(value);
	return value ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

enum ctl_verb {
	CTL_INFO,
	CTL_SPEED,
	CTL_PAUSE,
	CTL_RESUME,
	CTL_ABORT,
	CTL_FINALIZE,
	CTL_WAIT,
	CTL_RESIZE,
	CTL_IOPS,
	CTL_WITHIN,
	CTL_MIN_RATE,
	CTL_HOST_BUDGET,
	CTL_GUEST_P99,
	CTL_SNAPSHOT,
	CTL_COMMIT,
	CTL_COMPLETE,
};

/* In the order of the enum. */
static const struct options_word ctl_verbs[] = {
	{ "info", CTL_INFO },
	{ "speed", CTL_SPEED },
	{ "pause", CTL_PAUSE },
	{ "resume", CTL_RESUME },
	{ "abort", CTL_ABORT },
	{ "finalize", CTL_FINALIZE },
	{ "wait", CTL_WAIT },
	{ "resize", CTL_RESIZE },
	{ "iops", CTL_IOPS },
	{ "within", CTL_WITHIN },
	{ "min-rate", CTL_MIN_RATE },
	{ "host-budget", CTL_HOST_BUDGET },
	{ "guest-p99", CTL_GUEST_P99 },
	{ "snapshot", CTL_SNAPSHOT },
	{ "commit", CTL_COMMIT },
	{ "complete", CTL_COMPLETE },
	{ NULL, 0 },
};

/* What a verb does: a request of the control socket, or a function that makes several. */
static const struct {
	const char *request;
	int (*run)(struct ctl_client *client, bool json);
	const char *arg;   /* its value's name in the request; NULL: it takes none */
	const char *takes; /* what is said of a value that is missing */
} ctl_deeds[] = {
	[CTL_INFO] = { NULL, ctl_job_info, NULL, NULL },
	[CTL_SPEED] = { "block-job-set-speed", NULL, "speed", "speed needs one rate" },
	[CTL_PAUSE] = { "job-pause", NULL, NULL, NULL },
	[CTL_RESUME] = { "job-resume", NULL, NULL, NULL },
	[CTL_ABORT] = { "job-cancel", NULL, NULL, NULL },
	[CTL_FINALIZE] = { "job-finalize", NULL, NULL, NULL },
	[CTL_WAIT] = { NULL, ctl_job_wait, NULL, NULL },
	[CTL_RESIZE] = { "block_resize", NULL, "size", "resize needs one size" },
	[CTL_IOPS] = { "x-job-set-rates", NULL, "iops", "iops needs one number" },
	[CTL_WITHIN] = { "x-job-set-rates", NULL, "within-us", "within needs one time" },
	[CTL_MIN_RATE] = { "x-job-set-rates", NULL, "min-rate", "min-rate needs one rate" },
	[CTL_HOST_BUDGET] = { "x-set-host-budget", NULL, "rate", "host-budget needs one rate" },
	[CTL_GUEST_P99] = { "x-job-set-rates", NULL, "guest-p99-us", "guest-p99 needs one time" },
	[CTL_SNAPSHOT] = { NULL, NULL, NULL, "snapshot needs one name" },
	[CTL_COMMIT] = { NULL, NULL, NULL, NULL },
	[CTL_COMPLETE] = { "job-complete", NULL, NULL, NULL },
};

#define N_VERBS (sizeof(ctl_deeds) / sizeof(ctl_deeds[0]))

static int ctl_unknown_verb(const char *text)
{
	struct suggest suggest = { 0 };

	for (size_t i = 0; i < N_VERBS; i++)
		suggest_offer(&suggest, text, ctl_verbs[i].word);
	if (suggest.best)
		return say_usage("ctl", "unknown verb '%s'; did you mean '%s'?", text,
				 suggest.best);
	return say_usage("ctl", "unknown verb '%s'", text);
}

/* ---- the command ---- */

static const struct offer ctl_words[] = {
	{ "SOCKET", OFFER_FILES, NULL },
	{ "VERB", OFFER_WORDS, ctl_verbs },
	{ "RATE|SIZE|N|TIME|NAME", OFFER_FREE, NULL },
	{ NULL, OFFER_FREE, NULL },
};

static const struct offer ctl_offers[] = {
	{ "base", OFFER_FILES, NULL },
	{ NULL, OFFER_FREE, NULL },
};

struct ctl_line {
	struct command_line line;
	size_t verb;      /* enum ctl_verb */
	uint64_t number;  /* what the verb takes, in the request's unit */
	bool is_more;     /* resize: by so much, not to so much */
	const char *base; /* --base, or NULL */
	bool verifies;    /* commit */
	char *file;       /* that, or the new image, as the server finds it */
};

/* The disk's size is added to *size. False: it is not told (said). */
static bool ctl_add_size(struct ctl_client *client, uint64_t *size)
{
	struct json_object *node, *image = NULL;
	bool failed;

	node = ctl_job_first_of(client, "query-named-block-nodes", &failed);
	if (node)
		json_object_object_get_ex(node, "image", &image);
	if (!image && !failed)
		say_error("'%s': the process there does not tell the disk's size", client->path);
	if (image && __builtin_add_overflow(*size, ctl_say_number(image, "virtual-size"), size))
		*size = UINT64_MAX;
	failed = !image;
	json_object_put(node);
	return !failed;
}

static int ctl_resize(struct ctl_client *client, const struct ctl_line *ctl)
{
	struct json_object *args;
	uint64_t size = ctl->number;

	if (ctl->is_more && !ctl_add_size(client, &size))
		return EXIT_CODE_FAILED;
	args = json_object_new_object();
	json_object_object_add(args, "size",
			       json_object_new_uint64(size < INT64_MAX ? size : INT64_MAX));
	return ctl_simple(client, ctl_deeds[CTL_RESIZE].request, args);
}

static int ctl_connected(struct ctl_client *client, const struct ctl_line *ctl)
{
	struct json_object *args = NULL, *value = ctl_client_ask(client, "qmp_capabilities", NULL);

	json_object_put(value);
	if (!value)
		return EXIT_CODE_FAILED;
	if (ctl_deeds[ctl->verb].run)
		return ctl_deeds[ctl->verb].run(client, ctl->line.json);
	switch (ctl->verb) {
	case CTL_RESIZE: return ctl_resize(client, ctl);
	case CTL_SNAPSHOT: return ctl_chain_snapshot(client, ctl->file);
	case CTL_COMMIT: return ctl_chain_commit(client, ctl->file, ctl->verifies);
	default: break;
	}
	if (ctl_deeds[ctl->verb].arg) {
		args = json_object_new_object();
		json_object_object_add(args, ctl_deeds[ctl->verb].arg,
				       json_object_new_uint64(ctl->number));
	}
	return ctl_simple(client, ctl_deeds[ctl->verb].request, args);
}

static int ctl_take_value(struct ctl_line *ctl, const char *text)
{
	const char *name = ctl_verbs[ctl->verb].word;
	int code;

	if (ctl->verb == CTL_SNAPSHOT && !*text)
		return say_usage("ctl", "snapshot: the new image's name is missing");
	if (ctl->verb == CTL_SNAPSHOT) {
		ctl->file = ctl_chain_absolute(text, false);
		return ctl->file ? 0 : EXIT_CODE_FAILED;
	}
	if (ctl->verb == CTL_IOPS)
		return rates_parse_iops("ctl", name, text, &ctl->number);
	if (ctl->verb == CTL_WITHIN || ctl->verb == CTL_GUEST_P99) {
		code = rates_parse_time("ctl", name, text, &ctl->number);
		ctl->number /= 1000;
		return code;
	}
	ctl->is_more = ctl->verb == CTL_RESIZE && *text == '+';
	code = options_size("ctl", name, text + ctl->is_more,
			    ctl->verb == CTL_RESIZE ? SIZE_BYTES : SIZE_RATE, &ctl->number);
	if (!code && ctl->number > INT64_MAX)
		code = say_usage("ctl", "%s: '%s' is refused: it is too large", name, text);
	return code;
}

/* No option is ignored by a verb that has no use for it. */
static int ctl_check_options(const struct ctl_line *ctl)
{
	if ((ctl->base || ctl->verifies) && ctl->verb != CTL_COMMIT)
		return say_usage("ctl", "--%s has no meaning but with commit",
				 ctl->base ? "base" : "verify");
	if (ctl->line.json && !ctl_deeds[ctl->verb].run)
		return say_usage("ctl", "--json has no meaning but with info and wait");
	if (ctl->base && !*ctl->base)
		return say_usage("ctl", "--base: a file's name is missing");
	return 0;
}

static int ctl_check(struct command_line *line)
{
	struct ctl_line *ctl = (struct ctl_line *)line;
	bool takes_one;
	int code;

	if (line->n_words < 2)
		return say_usage("ctl", "a verb is missing");
	while (ctl->verb < N_VERBS && strcmp(line->words[1], ctl_verbs[ctl->verb].word))
		ctl->verb++;
	if (ctl->verb == N_VERBS)
		return ctl_unknown_verb(line->words[1]);
	takes_one = ctl_deeds[ctl->verb].takes;
	if (line->n_words != 2 + takes_one)
		return say_usage("ctl", "%s",
				 takes_one ? ctl_deeds[ctl->verb].takes
					   : "more than a socket and a verb");
	code = ctl_check_options(ctl);
	if (code)
		return code;
	if (ctl->base)
		ctl->file = ctl_chain_absolute(ctl->base, true);
	if (ctl->base && !ctl->file)
		return EXIT_CODE_FAILED;
	return takes_one ? ctl_take_value(ctl, line->words[2]) : 0;
}

static int ctl_take(struct command_line *line, int option, char *text)
{
	struct ctl_line *ctl = (struct ctl_line *)line;

	switch (option) {
	case CTL_BASE: ctl->base = text; return 0;
	case CTL_VERIFY: ctl->verifies = true; return 0;
	default: return -1;
	}
}

static int ctl_run(struct command_line *line)
{
	struct ctl_client client;
	int code = ctl_client_open(&client, line->words[0]);

	if (!code) {
		sandbox_enter(SANDBOX_NO_NAMES);
		code = ctl_connected(&client, (const struct ctl_line *)line);
	}
	ctl_client_close(&client);
	free(((struct ctl_line *)line)->file);
	return code;
}

const struct command ctl_command = {
	.name = "ctl",
	.summary = "steer a pull or a served disk",
	.help = ctl_help,
	.letters = ":h",
	.options = ctl_table,
	.offers = ctl_offers,
	.word_offers = ctl_words,
	.line_size = sizeof(struct ctl_line),
	.min_words = 1,
	.too_few = "a socket's name is missing",
	.take = ctl_take,
	.check = ctl_check,
	.run = ctl_run,
};
