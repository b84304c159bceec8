/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What blockpull ctl says of a job, and of what a disk's users asked for.
 */
#include "tools/ctl/ctl_say.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/cli/say.h"
#include "tools/words/duration.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

/* ---- members of answers ---- */

uint64_t ctl_say_number(struct json_object *job, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(job, key, &value) ? json_object_get_uint64(value) : 0;
}

const char *ctl_say_word(struct json_object *job, const char *key)
{
	struct json_object *value;

	/* A member may be null. */
	return json_object_object_get_ex(job, key, &value) && value ? json_object_get_string(value)
								    : "";
}

/* null, or absent: negative. */
static double ctl_say_seconds(struct json_object *job, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(job, key, &value) && value ? json_object_get_double(value)
								    : -1;
}

/* ---- what is said ---- */

void ctl_say_json(struct json_object *job)
{
	const char *status = ctl_say_word(job, "status");
	int code = !strcmp(status, "failed")
			   ? exit_code_of_error(-(int)ctl_say_number(job, "errno"))
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

/* What of a job's rate is more than its limit. */
static void ctl_say_rates(struct json_object *job)
{
	uint64_t limit = ctl_say_number(job, "limit");
	double within = ctl_say_seconds(job, "within");
	char text[SIZE_TEXT_CAP], time[DURATION_TEXT_CAP];

	if (limit != ctl_say_number(job, "bandwidth"))
		say_data(" (now %s%s)", limit ? size_text(limit, text) : "none", limit ? "/s" : "");
	if (ctl_say_number(job, "iops"))
		say_data(", %" PRIu64 " requests/s", ctl_say_number(job, "iops"));
	if (ctl_say_number(job, "min-rate"))
		say_data(", at least %s/s", size_text(ctl_say_number(job, "min-rate"), text));
	if (within > 0)
		say_data(", within %s", duration_text((uint64_t)(within * 1e9), time));
	if (ctl_say_number(job, "guest-p99-us"))
		say_data(", guest's p99 below %s",
			 duration_text(ctl_say_number(job, "guest-p99-us") * 1000, time));
	if (ctl_say_number(job, "guest-p99-now-us"))
		say_data(" (now %s)",
			 duration_text(ctl_say_number(job, "guest-p99-now-us") * 1000, time));
	if (ctl_say_number(job, "late"))
		say_data(", late");
}

static void ctl_say_job(struct json_object *job, bool json)
{
	char done[SIZE_TEXT_CAP], all[SIZE_TEXT_CAP], copied[SIZE_TEXT_CAP], text[SIZE_TEXT_CAP];
	const char *status = ctl_say_word(job, "status");
	uint64_t end = ctl_say_number(job, "end"), cur = ctl_say_number(job, "cur");
	struct json_object *bytes = NULL, *rate = NULL;
	double left = ctl_say_seconds(job, "seconds-left");

	if (json) {
		ctl_say_json(job);
		return;
	}
	json_object_object_get_ex(job, "bytes", &bytes);
	json_object_object_get_ex(job, "rate", &rate);
	say_data("%s: %s, %.1f %% (%s of %s), %s copied", ctl_say_word(job, "filename"),
		 *status ? status : ctl_say_word(job, "state"), end ? 100.0 * cur / end : 100.0,
		 size_text(cur, done), size_text(end, all),
		 size_text(ctl_say_number(bytes, "copied"), copied));
	if (rate)
		say_data(", %s MiB/s", size_text_mib(json_object_get_int64(rate), text));
	say_data(", limit %s%s",
		 ctl_say_number(job, "bandwidth")
			 ? size_text(ctl_say_number(job, "bandwidth"), text)
			 : "none",
		 ctl_say_number(job, "bandwidth") ? "/s" : "");
	ctl_say_rates(job);
	say_data(", %.1f s elapsed", ctl_say_seconds(job, "seconds"));
	if (left >= 0 && !*status)
		say_data(", about %.0f s left", left);
	say_data("%s%s\n", *ctl_say_word(job, "error") ? "; " : "", ctl_say_word(job, "error"));
}

static void ctl_say_stats(struct json_object *stats)
{
	static const char *const kinds[][2] = { { "rd", "reads" },
						{ "wr", "writes" },
						{ "flush", "flushes" },
						{ "unmap", "discards" } };
	const char *before = "guest: ";
	char name[32], text[SIZE_TEXT_CAP];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(name, sizeof(name), "%s_operations", kinds[i][0]);
		say_data("%s%" PRIu64 " %s", before, ctl_say_number(stats, name), kinds[i][1]);
		snprintf(name, sizeof(name), "%s_bytes", kinds[i][0]);
		if (json_object_object_get_ex(stats, name, NULL))
			say_data(" of %s", size_text(ctl_say_number(stats, name), text));
		snprintf(name, sizeof(name), "failed_%s_operations", kinds[i][0]);
		if (ctl_say_number(stats, name))
			say_data(" (%" PRIu64 " failed)", ctl_say_number(stats, name));
		before = ", ";
	}
	say_data("\n");
}

static void ctl_say_servers(struct json_object *servers)
{
	char text[SIZE_TEXT_CAP];
	size_t n = servers ? json_object_array_length(servers) : 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *server = json_object_array_get_idx(servers, i);
		uint64_t reconnects = ctl_say_number(server, "reconnects");

		say_data("server: %s: %s, %s read", ctl_say_word(server, "uri"),
			 ctl_say_word(server, "state"),
			 size_text(ctl_say_number(server, "bytes-read"), text));
		if (reconnects)
			say_data(", connected again %" PRIu64 " time%s", reconnects,
				 reconnects == 1 ? "" : "s");
		say_data("%s%s\n", *ctl_say_word(server, "error") ? "; " : "",
			 ctl_say_word(server, "error"));
	}
}

/* Of a disk that is served without a job: an object with its name, for the counters. */
static struct json_object *ctl_say_idle(struct json_object *device)
{
	struct json_object *idle = json_object_new_object();

	json_object_object_add(idle, "event", json_object_new_string("idle"));
	json_object_object_add(idle, "filename",
			       json_object_new_string(ctl_say_word(device, "device")));
	return idle;
}

void ctl_say_info(struct json_object *job, struct json_object *device, struct json_object *servers,
		  bool json)
{
	struct json_object *stats = NULL, *object = json_object_get(job);

	if (device)
		json_object_object_get_ex(device, "stats", &stats);
	if (json) {
		if (!object)
			object = ctl_say_idle(device);
		if (stats)
			json_object_object_add(object, "stats", json_object_get(stats));
		if (servers && json_object_array_length(servers))
			json_object_object_add(object, "servers", json_object_get(servers));
		if (job)
			ctl_say_json(object);
		else
			say_json(json_object_get(object), SAY_JSON_LINE);
	} else {
		if (job)
			ctl_say_job(job, false);
		else
			say_data("%s: no job\n", ctl_say_word(device, "device"));
		if (stats)
			ctl_say_stats(stats);
		ctl_say_servers(servers);
	}
	json_object_put(object);
}
