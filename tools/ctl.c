/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull ctl: the other end of a control socket. It asks as any QMP client
 * would; a private protocol was rejected, since then no other program could.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/commands.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"
#include "tools/words/suggest.h"

#define ANSWER_MS    10000
#define WAIT_LOOK_MS 500
#define MAX_LINE     (1u << 20)

static const char ctl_help[] =
	"Usage: blockpull ctl [OPTION...] SOCKET VERB [RATE]\n"
	"\n"
	"Steers a pull through its control socket (blockpull pull --control=SOCKET, or the\n"
	"nbdkit plugin's control=SOCKET).\n"
	"\n"
	"Verbs:\n"
	"  info         how far it is, how fast, how long still; or how it ended\n"
	"  speed RATE   at most RATE bytes a second from now on (50M; 0: no limit)\n"
	"  pause        stop copying; what was copied is made durable\n"
	"  resume       go on, also after an error stopped it\n"
	"  abort        end it; the image stays linked, and what was copied stays copied\n"
	"  finalize     drop the link of a pull that is ready (--manual-finalize)\n"
	"  wait         until it is over: exits with 0 if it completed, 1 if not\n"
	"\n"
	"Options:\n"
	"      --json   info, wait: the job as a JSON line, as pull --json has it\n"
	"  --no-sandbox do without the seccomp filter\n"
	"  -h, --help   this text\n";

static const struct option ctl_table[] = {
	OPTIONS_JSON,
	OPTIONS_HELP,
	OPTIONS_END,
};

/* The other end of a control socket. */
struct ctl {
	const char *path;
	int fd;
	char *in;
	size_t in_len;
	bool json;
};

/* ---- talking ---- */

static int connect_to(struct ctl *ctl)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(ctl->path) >= sizeof(address.sun_path)) {
		say_error("'%s': too long for a socket's name", ctl->path);
		return EXIT_CODE_FAILED;
	}
	memcpy(address.sun_path, ctl->path, strlen(ctl->path) + 1);
	ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ctl->fd >= 0 && !connect(ctl->fd, (struct sockaddr *)&address, sizeof(address)))
		return 0;
	if (errno == ECONNREFUSED)
		say_error("'%s': nobody listens there: the pull is over, or was killed", ctl->path);
	else
		say_error("'%s': %s", ctl->path, strerror(errno));
	if (errno == ENOENT)
		say_hint("the socket is there while blockpull pull --control runs");
	return EXIT_CODE_FAILED;
}

/* The next object from the other side; NULL: none came (said). timeout_ms 0 and more. */
static struct json_object *receive(struct ctl *ctl, int timeout_ms, bool *in_time)
{
	*in_time = true;
	for (;;) {
		struct pollfd ready = { .fd = ctl->fd, .events = POLLIN };
		char *end = memchr(ctl->in, '\n', ctl->in_len);
		struct json_object *value;
		ssize_t n;

		if (end) {
			*end = 0;
			value = json_tokener_parse(ctl->in);
			ctl->in_len -= end + 1 - ctl->in;
			memmove(ctl->in, end + 1, ctl->in_len);
			if (!value)
				say_error("'%s': what came from there is no JSON", ctl->path);
			return value;
		}
		if (poll(&ready, 1, timeout_ms) == 0) {
			*in_time = false;
			return NULL;
		}
		n = ctl->in_len < MAX_LINE - 1
			    ? recv(ctl->fd, ctl->in + ctl->in_len, MAX_LINE - 1 - ctl->in_len, 0)
			    : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		ctl->in_len += n;
	}
}

/* Sends a verb and returns what it answered: the value, or NULL with the reason said. */
static struct json_object *ask(struct ctl *ctl, const char *verb, struct json_object *args)
{
	struct json_object *request = json_object_new_object(), *answer, *value, *error;
	bool in_time;
	int n;

	json_object_object_add(request, "execute", json_object_new_string(verb));
	if (args)
		json_object_object_add(request, "arguments", args);
	n = dprintf(ctl->fd, "%s\n",
		    json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
	json_object_put(request);
	while (n > 0 && (answer = receive(ctl, ANSWER_MS, &in_time))) {
		if (json_object_object_get_ex(answer, "return", &value)) {
			json_object_get(value);
			json_object_put(answer);
			return value;
		}
		if (json_object_object_get_ex(answer, "error", &error)) {
			struct json_object *desc = NULL;

			json_object_object_get_ex(error, "desc", &desc);
			say_error("%s", desc ? json_object_get_string(desc) : "refused");
			json_object_put(answer);
			return NULL;
		}
		json_object_put(answer); /* an event, or the greeting */
	}
	say_error("'%s': no answer: the pull is over", ctl->path);
	return NULL;
}

/* ---- verbs ---- */

static uint64_t number(struct json_object *job, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(job, key, &value) ? json_object_get_uint64(value) : 0;
}

static const char *word(struct json_object *job, const char *key)
{
	struct json_object *value;

	/* A member may be null. */
	return json_object_object_get_ex(job, key, &value) && value ? json_object_get_string(value)
								    : "";
}

/* null, or absent: negative. */
static double seconds_of(struct json_object *job, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(job, key, &value) && value ? json_object_get_double(value)
								    : -1;
}

/* The job, which the caller releases; NULL: there is none, or no answer (said). */
static struct json_object *job_of(struct ctl *ctl)
{
	struct json_object *list = ask(ctl, "x-query-job", NULL), *job;

	if (!list)
		return NULL;
	job = json_object_is_type(list, json_type_array) && json_object_array_length(list)
		      ? json_object_get(json_object_array_get_idx(list, 0))
		      : NULL;
	json_object_put(list);
	if (!job)
		say_error("'%s': no job was started there", ctl->path);
	return job;
}

/* As `pull --json` prints it. */
static void print_json(struct json_object *job)
{
	const char *status = word(job, "status");
	int code = !strcmp(status, "failed") ? exit_code_of_error(-(int)number(job, "errno"))
					     : EXIT_CODE_FAILED;

	json_object_object_del(job, "id");
	json_object_object_add(job, "event",
			       json_object_new_string(*status ? "result" : "progress"));
	if (*status) {
		code = strcmp(status, "completed") != 0 ? code : EXIT_CODE_DONE;
		json_object_object_add(job, "exit-code", json_object_new_int(code));
		json_object_object_add(job, "exit-class",
				       json_object_new_string(exit_code_class(code)));
	}
	say_json(json_object_get(job), SAY_JSON_LINE);
}

static void print_job(const struct ctl *ctl, struct json_object *job)
{
	char done[SIZE_TEXT_CAP], all[SIZE_TEXT_CAP], copied[SIZE_TEXT_CAP], text[SIZE_TEXT_CAP];
	const char *status = word(job, "status");
	uint64_t end = number(job, "end"), cur = number(job, "cur");
	struct json_object *bytes = NULL, *rate = NULL;
	double left = seconds_of(job, "seconds-left");

	if (ctl->json) {
		print_json(job);
		return;
	}
	json_object_object_get_ex(job, "bytes", &bytes);
	json_object_object_get_ex(job, "rate", &rate);
	say_data("%s: %s, %.1f %% (%s of %s), %s copied", word(job, "filename"),
		 *status ? status : word(job, "state"), end ? 100.0 * cur / end : 100.0,
		 size_text(cur, done), size_text(end, all),
		 size_text(number(bytes, "copied"), copied));
	if (rate)
		say_data(", %s MiB/s", size_text_mib(json_object_get_int64(rate), text));
	say_data(", limit %s%s",
		 number(job, "bandwidth") ? size_text(number(job, "bandwidth"), text) : "none",
		 number(job, "bandwidth") ? "/s" : "");
	say_data(", %.1f s elapsed", seconds_of(job, "seconds"));
	if (left >= 0 && !*status)
		say_data(", about %.0f s left", left);
	say_data("%s%s\n", *word(job, "error") ? "; " : "", word(job, "error"));
}

static int info(struct ctl *ctl)
{
	struct json_object *job = job_of(ctl);

	if (!job)
		return EXIT_CODE_FAILED;
	print_job(ctl, job);
	json_object_put(job);
	return EXIT_CODE_DONE;
}

/* Puts what the job's last event says into what was known of it. False: it is another event. */
static bool take_end(struct json_object *job, struct json_object *event)
{
	const char *name = word(event, "event");
	struct json_object *data = NULL, *error = NULL, *progress = NULL;
	bool is_canceled = !strcmp(name, "BLOCK_JOB_CANCELLED");

	json_object_object_get_ex(event, "data", &data);
	if ((!is_canceled && strcmp(name, "BLOCK_JOB_COMPLETED") != 0) ||
	    strcmp(word(data, "device"), word(job, "id")) != 0)
		return false;
	json_object_object_get_ex(data, "error", &error);
	json_object_object_add(job, "status",
			       json_object_new_string(is_canceled ? "canceled"
						      : error     ? "failed"
								  : "completed"));
	json_object_object_add(job, "state", json_object_new_string("concluded"));
	json_object_object_add(job, "error", json_object_get(error));
	json_object_object_add(job, "errno", json_object_new_int((int)number(data, "x-errno")));
	json_object_object_add(job, "cur", json_object_new_uint64(number(data, "offset")));
	json_object_object_add(job, "end", json_object_new_uint64(number(data, "len")));
	if (json_object_object_get_ex(data, "x-progress", &progress)) {
		json_object_object_foreach(progress, key, value)
			json_object_object_add(job, key, json_object_get(value));
	}
	return true;
}

static int judge(struct json_object *job)
{
	const char *status = word(job, "status");

	if (!strcmp(status, "completed"))
		return EXIT_CODE_DONE;
	if (!strcmp(status, "canceled"))
		say_error("it was canceled");
	else
		say_error("%s", word(job, "error"));
	return EXIT_CODE_FAILED;
}

static int wait_for_end(struct ctl *ctl)
{
	struct json_object *job = job_of(ctl), *event;
	bool in_time, is_over;
	int code;

	if (!job)
		return EXIT_CODE_FAILED;
	is_over = *word(job, "status");
	while (!is_over) {
		event = receive(ctl, WAIT_LOOK_MS, &in_time);
		if (!event && in_time) {
			say_error("'%s': the pull's process ended before it said how the pull did",
				  ctl->path);
			json_object_put(job);
			return EXIT_CODE_FAILED;
		}
		is_over = event && take_end(job, event);
		json_object_put(event);
	}
	code = judge(job);
	if (ctl->json)
		print_json(job);
	json_object_put(job);
	return code;
}

static int simple(struct ctl *ctl, const char *verb, struct json_object *args)
{
	struct json_object *value = ask(ctl, verb, args);

	json_object_put(value);
	return value ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

static const struct {
	const char *word, *verb;
	int (*run)(struct ctl *ctl);
} ctl_verbs[] = {
	{ "info", NULL, info },          { "speed", "block-job-set-speed", NULL },
	{ "pause", "job-pause", NULL },  { "resume", "job-resume", NULL },
	{ "abort", "job-cancel", NULL }, { "finalize", "job-finalize", NULL },
	{ "wait", NULL, wait_for_end },
};

#define N_VERBS (sizeof(ctl_verbs) / sizeof(ctl_verbs[0]))

static int unknown_verb(const char *text)
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

struct ctl_line {
	struct command_line line;
	size_t verb;   /* of ctl_verbs */
	uint64_t rate; /* bytes/s, of speed */
};

static bool ctl_is_speed(const struct ctl_line *line)
{
	return !strcmp(ctl_verbs[line->verb].word, "speed");
}

static int ctl_connected(struct ctl *ctl, const struct ctl_line *line)
{
	struct json_object *args = NULL, *value = ask(ctl, "qmp_capabilities", NULL);

	json_object_put(value);
	if (!value)
		return EXIT_CODE_FAILED;
	if (ctl_verbs[line->verb].run)
		return ctl_verbs[line->verb].run(ctl);
	if (ctl_is_speed(line)) {
		args = json_object_new_object();
		json_object_object_add(args, "speed", json_object_new_uint64(line->rate));
	}
	return simple(ctl, ctl_verbs[line->verb].verb, args);
}

static int ctl_check(struct command_line *line)
{
	struct ctl_line *ctl = (struct ctl_line *)line;
	bool is_speed;

	if (line->n_words < 2)
		return say_usage("ctl", "a verb is missing");
	while (ctl->verb < N_VERBS && strcmp(line->words[1], ctl_verbs[ctl->verb].word))
		ctl->verb++;
	if (ctl->verb == N_VERBS)
		return unknown_verb(line->words[1]);
	is_speed = ctl_is_speed(ctl);
	if (line->n_words != 2 + is_speed)
		return say_usage("ctl", is_speed ? "speed needs one rate"
						 : "more than a socket and a verb");
	return is_speed ? options_size("ctl", "speed", line->words[2], SIZE_RATE, &ctl->rate) : 0;
}

static int ctl_run(struct command_line *line)
{
	struct ctl ctl = { .path = line->words[0], .fd = -1, .json = line->json };
	int code;

	ctl.in = malloc(MAX_LINE);
	if (!ctl.in) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	code = connect_to(&ctl);
	if (!code) {
		sandbox_enter(SANDBOX_NO_NAMES);
		code = ctl_connected(&ctl, (const struct ctl_line *)line);
	}
	if (ctl.fd >= 0)
		close(ctl.fd);
	free(ctl.in);
	return code;
}

const struct command ctl_command = {
	.name = "ctl",
	.summary = "steer a running pull",
	.help = ctl_help,
	.letters = ":h",
	.options = ctl_table,
	.line_size = sizeof(struct ctl_line),
	.min_words = 1,
	.too_few = "a socket's name is missing",
	.check = ctl_check,
	.run = ctl_run,
};
