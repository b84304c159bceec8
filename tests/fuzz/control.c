/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes to a control socket, with a job that runs and without one: every
 * value has an answer, which is JSON, however the bytes are cut, and the events
 * that follow tell of states in the order that QEMU has. The first byte says
 * whether capabilities were negotiated.
 */
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "io/base.h"
#include "tests/fuzz/world.h"
#include "tests/support/images/build_image.h"
#include "tools/control/jobs/job_states.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/state/args.h"
#include "tools/control/state/events.h"
#include "tools/control/verbs.h"
#include "tools/control/wire/stream.h"

/* Whether a job may go from one state to the next; NULL: there is none yet. */
static bool may_follow(const char *from, const char *to)
{
	static const char *const steps[][2] = {
		{ "null", "created" },       { "created", "running" },  { "running", "paused" },
		{ "paused", "running" },     { "running", "waiting" },  { "waiting", "pending" },
		{ "running", "aborting" },   { "pending", "aborting" }, { "pending", "concluded" },
		{ "aborting", "concluded" }, { "concluded", "null" },   { "running", "ready" },
		{ "ready", "standby" },      { "standby", "ready" },    { "ready", "waiting" },
		{ "ready", "aborting" },     { "standby", "aborting" },
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!strcmp(steps[i][0], from) && !strcmp(steps[i][1], to))
			return true;
	return false;
}

/* Concluded jobs may wait to be dismissed while another one runs: only the states before that are
 * in one row. */
static void take_news(struct control_target *target, char last[32])
{
	struct json_object *event, *data, *status;

	while ((event = control_take_news(target))) {
		const char *word;

		FUZZ_CHECK(json_object_object_get_ex(event, "data", &data),
			   "an event without data");
		if (json_object_object_get_ex(data, "status", &status)) {
			word = json_object_get_string(status);
			FUZZ_CHECK(may_follow(last, word) || !strcmp(word, "null") ||
					   (!strcmp(last, "concluded") && !strcmp(word, "created")),
				   "%s follows %s", word, last);
			snprintf(last, 32, "%s", word);
		}
		json_object_put(event);
	}
}

static void answer(struct control_target *target, bool *negotiated,
		   const struct control_stream *stream, enum control_piece piece)
{
	struct json_object *request = NULL, *said;
	const char *why = stream->why;

	if (piece == CONTROL_VALUE)
		request = control_parse(stream->text, stream->len, &why);
	said = piece == CONTROL_GARBAGE || (!request && why)
		       ? control_refuse("GenericError", "%s", why)
		       : control_answer(target, negotiated, request);
	json_object_put(request);
	FUZZ_CHECK(said && json_object_is_type(said, json_type_object), "no answer");
	FUZZ_CHECK(!json_object_object_get_ex(said, "return", NULL) !=
			   !json_object_object_get_ex(said, "error", NULL),
		   "neither a return nor an error, or both");
	json_object_put(said);
}

/* One line's bytes, by pieces of odd lengths. */
static void feed(struct control_target *target, bool *negotiated, struct control_stream *stream,
		 const uint8_t *bytes, size_t n)
{
	enum control_piece piece;
	size_t at = 0;

	while (at < n) {
		size_t len = 1 + (bytes[at] & 31);
		size_t end = at + (len < n - at ? len : n - at);

		while (at < end) {
			at += control_stream_take(stream, (const char *)bytes + at, end - at,
						  &piece);
			if (piece)
				answer(target, negotiated, stream, piece);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct build_how how = { .guest_len = 64 * KiB,
				 .backing_name = "b1",
				 .backing_format = "raw" };
	struct build_image image = build_image(&how);
	struct sim *sim = fuzz_world(image.bytes, image.len);
	struct sim_chain chain = { .unnamed = IMAGE_RAW, .how = { .format = IMAGE_QCOW2 } };
	struct control_target target = { .device = "drive0",
					 .job = { .size = sizeof(target.job) },
					 .stays = true };
	struct control_stream stream = { .text = sim_need(malloc(CONTROL_MAX_VALUE)) };
	char last[32] = "null";
	struct sim_pull p = { 0 };
	bool negotiated = size && data[0] & 1;

	FUZZ_CHECK(!sim_pull_open(&p, &chain, sim, NULL, SIM_PULL_MEMORY, 0), "%s",
		   p.error.message);
	target.disk = p.disk;
	for (size_t at = 1, end; at < size; at = end) {
		struct bpull_event event;
		const uint8_t *nl = memchr(data + at, '\n', size - at);

		end = nl ? (size_t)(nl - data) : size;
		end += end < size; /* with its end */
		feed(&target, &negotiated, &stream, data + at, end - at);
		control_job_look(&target);
		if (bpull_engine_process(p.engine, &event, 1) == 1)
			control_job_event(&target, &event);
		take_news(&target, last);
	}
	control_forget(&target);
	free(stream.text);
	sim_pull_close(&p);
	sim_free(sim);
	build_image_free(&image);
	return 0;
}
