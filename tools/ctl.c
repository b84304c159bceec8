/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull ctl: its verbs, and what is said of a job.
 */
#include <inttypes.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/cli/rates.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/commands.h"
#include "tools/ctl_client.h"
#include "tools/ctl_say.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"
#include "tools/words/suggest.h"

#define WAIT_LOOK_MS 500

static const char ctl_help[] =
	"Usage: blockpull ctl [OPTION...] SOCKET VERB [RATE|SIZE|N|TIME]\n"
	"\n"
	"Steers a pull through its control socket (blockpull pull --control=SOCKET, or the\n"
	"nbdkit plugin's control=SOCKET).\n"
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
	"  wait         until it is over: exits with 0 if it completed, 1 if not\n"
	"\n"
	"Options:\n"
	"  --json       info, wait: the job as a JSON line, as pull --json has it\n"
	"  --no-sandbox do without the seccomp filter\n"
	"  -h, --help   this text\n";

static const struct option ctl_table[] = {
	OPTIONS_JSON,
	OPTIONS_HELP,
	OPTIONS_END,
};

/* ---- verbs ---- */

/* The first of the list that the request is answered with, which the caller releases; NULL: it is
 * empty, or there is no answer (said), and then *failed is true. */
static struct json_object *ctl_first_of(struct ctl_client *client, const char *request,
					bool *failed)
{
	struct json_object *list = ctl_client_ask(client, request, NULL), *first = NULL;

	*failed = !list;
	if (json_object_is_type(list, json_type_array) && json_object_array_length(list))
		first = json_object_get(json_object_array_get_idx(list, 0));
	json_object_put(list);
	return first;
}

static void ctl_say_no_job(const struct ctl_client *client)
{
	say_error("'%s': no job was started there", client->path);
}

/* The job, which the caller releases; NULL: there is none, or no answer (said). */
static struct json_object *ctl_job_of(struct ctl_client *client)
{
	bool failed;
	struct json_object *job = ctl_first_of(client, "x-query-job", &failed);

	if (!job && !failed)
		ctl_say_no_job(client);
	return job;
}

static int ctl_info(struct ctl_client *client, bool json)
{
	bool failed;
	struct json_object *job = ctl_first_of(client, "x-query-job", &failed);
	struct json_object *device = NULL, *servers = NULL;

	if (!failed)
		device = ctl_first_of(client, "query-blockstats", &failed);
	if (!failed) {
		servers = ctl_client_ask(client, "x-query-servers", NULL);
		failed = !servers;
	}
	if (!failed && (job || device)) {
		ctl_say_info(job, device, servers, json);
	} else if (!failed) {
		ctl_say_no_job(client);
		failed = true;
	}
	json_object_put(job);
	json_object_put(device);
	json_object_put(servers);
	return failed ? EXIT_CODE_FAILED : EXIT_CODE_DONE;
}

/* Puts what the job's last event says into what was known of it. False: it is another event. */
static bool ctl_take_end(struct json_object *job, struct json_object *event)
{
	const char *name = ctl_say_word(event, "event");
	struct json_object *data = NULL, *error = NULL, *progress = NULL;
	bool is_canceled = !strcmp(name, "BLOCK_JOB_CANCELLED");

	json_object_object_get_ex(event, "data", &data);
	if ((!is_canceled && strcmp(name, "BLOCK_JOB_COMPLETED") != 0) ||
	    strcmp(ctl_say_word(data, "device"), ctl_say_word(job, "id")) != 0)
		return false;
	json_object_object_get_ex(data, "error", &error);
	json_object_object_add(job, "status",
			       json_object_new_string(is_canceled ? "canceled"
						      : error     ? "failed"
								  : "completed"));
	json_object_object_add(job, "state", json_object_new_string("concluded"));
	json_object_object_add(job, "error", json_object_get(error));
	json_object_object_add(job, "errno",
			       json_object_new_int((int)ctl_say_number(data, "x-errno")));
	json_object_object_add(job, "cur", json_object_new_uint64(ctl_say_number(data, "offset")));
	json_object_object_add(job, "end", json_object_new_uint64(ctl_say_number(data, "len")));
	if (json_object_object_get_ex(data, "x-progress", &progress)) {
		json_object_object_foreach(progress, key, value)
			json_object_object_add(job, key, json_object_get(value));
	}
	return true;
}

static int ctl_judge(struct json_object *job)
{
	const char *status = ctl_say_word(job, "status");

	if (!strcmp(status, "completed"))
		return EXIT_CODE_DONE;
	if (!strcmp(status, "canceled"))
		say_error("it was canceled");
	else
		say_error("%s", ctl_say_word(job, "error"));
	return EXIT_CODE_FAILED;
}

static int ctl_wait_for_end(struct ctl_client *client, bool json)
{
	struct json_object *job = ctl_job_of(client), *event;
	bool in_time, is_over;
	int code;

	if (!job)
		return EXIT_CODE_FAILED;
	is_over = *ctl_say_word(job, "status");
	while (!is_over) {
		event = ctl_client_receive(client, WAIT_LOOK_MS, &in_time);
		if (!event && in_time) {
			say_error("'%s': the pull's process ended before it said how the pull did",
				  client->path);
			json_object_put(job);
			return EXIT_CODE_FAILED;
		}
		is_over = event && ctl_take_end(job, event);
		json_object_put(event);
	}
	code = ctl_judge(job);
	if (json)
		ctl_say_json(job);
	json_object_put(job);
	return code;
}

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
};

/* In the order of the enum. */
static const struct options_word ctl_verbs[] = {
	{ "info", CTL_INFO },           { "speed", CTL_SPEED },
	{ "pause", CTL_PAUSE },         { "resume", CTL_RESUME },
	{ "abort", CTL_ABORT },         { "finalize", CTL_FINALIZE },
	{ "wait", CTL_WAIT },           { "resize", CTL_RESIZE },
	{ "iops", CTL_IOPS },           { "within", CTL_WITHIN },
	{ "min-rate", CTL_MIN_RATE },   { "host-budget", CTL_HOST_BUDGET },
	{ "guest-p99", CTL_GUEST_P99 }, { NULL, 0 },
};

/* What a verb does: a request of the control socket, or a function that makes several. */
static const struct {
	const char *request;
	int (*run)(struct ctl_client *client, bool json);
	const char *arg;   /* its value's name in the request; NULL: it takes none */
	const char *takes; /* what is said of a value that is missing */
} ctl_deeds[] = {
	[CTL_INFO] = { NULL, ctl_info, NULL, NULL },
	[CTL_SPEED] = { "block-job-set-speed", NULL, "speed", "speed needs one rate" },
	[CTL_PAUSE] = { "job-pause", NULL, NULL, NULL },
	[CTL_RESUME] = { "job-resume", NULL, NULL, NULL },
	[CTL_ABORT] = { "job-cancel", NULL, NULL, NULL },
	[CTL_FINALIZE] = { "job-finalize", NULL, NULL, NULL },
	[CTL_WAIT] = { NULL, ctl_wait_for_end, NULL, NULL },
	[CTL_RESIZE] = { "block_resize", NULL, "size", "resize needs one size" },
	[CTL_IOPS] = { "x-job-set-rates", NULL, "iops", "iops needs one number" },
	[CTL_WITHIN] = { "x-job-set-rates", NULL, "within-us", "within needs one time" },
	[CTL_MIN_RATE] = { "x-job-set-rates", NULL, "min-rate", "min-rate needs one rate" },
	[CTL_HOST_BUDGET] = { "x-set-host-budget", NULL, "rate", "host-budget needs one rate" },
	[CTL_GUEST_P99] = { "x-job-set-rates", NULL, "guest-p99-us", "guest-p99 needs one time" },
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
	{ "RATE|SIZE|N|TIME", OFFER_FREE, NULL },
	{ NULL, OFFER_FREE, NULL },
};

struct ctl_line {
	struct command_line line;
	size_t verb;     /* enum ctl_verb */
	uint64_t number; /* what the verb takes, in the request's unit */
	bool is_more;    /* resize: by so much, not to so much */
};

/* The disk's size is added to *size. False: it is not told (said). */
static bool ctl_add_size(struct ctl_client *client, uint64_t *size)
{
	struct json_object *node, *image = NULL;
	bool failed;

	node = ctl_first_of(client, "query-named-block-nodes", &failed);
	if (node)
		json_object_object_get_ex(node, "image", &image);
	if (!image && !failed)
		say_error("'%s': it does not tell the disk's size", client->path);
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
	if (ctl->verb == CTL_RESIZE)
		return ctl_resize(client, ctl);
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

	if (ctl->verb == CTL_IOPS)
		return rates_parse_iops("ctl", name, text, &ctl->number);
	if (ctl->verb == CTL_WITHIN || ctl->verb == CTL_GUEST_P99) {
		code = rates_parse_time("ctl", name, text, &ctl->number);
		ctl->number /= 1000;
		return code;
	}
	ctl->is_more = ctl->verb == CTL_RESIZE && *text == '+';
	return options_size("ctl", name, text + ctl->is_more,
			    ctl->verb == CTL_RESIZE ? SIZE_BYTES : SIZE_RATE, &ctl->number);
}

static int ctl_check(struct command_line *line)
{
	struct ctl_line *ctl = (struct ctl_line *)line;
	bool takes_one;

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
	return takes_one ? ctl_take_value(ctl, line->words[2]) : 0;
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
	return code;
}

const struct command ctl_command = {
	.name = "ctl",
	.summary = "steer a running pull",
	.help = ctl_help,
	.letters = ":h",
	.options = ctl_table,
	.word_offers = ctl_words,
	.line_size = sizeof(struct ctl_line),
	.min_words = 1,
	.too_few = "a socket's name is missing",
	.check = ctl_check,
	.run = ctl_run,
};
