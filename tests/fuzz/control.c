/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes to a control socket, with a job that runs and without one: every
 * value has an answer, which is JSON, however the bytes are cut, and the events
 * that follow tell of states in the order that QEMU has. The first byte says
 * whether capabilities were negotiated (1), and whether a descriptor comes with
 * each line (2).
 *
 * Clients may name files: those of the simulated machine, of which this process
 * sees copies, and no other.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <json-c/json.h>

#include "io/base.h"
#include "tests/fuzz/world.h"
#include "tests/support/images/build_image.h"
#include "tools/control/jobs/job_states.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/state/args.h"
#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"
#include "tools/control/verbs.h"
#include "tools/control/wire/handed.h"
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

/* ---- the machine ---- */

/* A copy of a file, as the callback `open_file` answers. */
static int open_copy(void *opaque, const struct bpull_open_request *request)
{
	const struct sim *sim = opaque;
	uint64_t len;
	uint8_t *bytes;
	int fd;

	if (!sim_file_exists(sim, request->name))
		return -ENOENT;
	len = sim_file_len(sim, request->name);
	bytes = sim_need(malloc(len + 1));
	sim_file_peek(sim, request->name, bytes, len, 0);
	fd = memfd_create("copy", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "no memory");
	free(bytes);
	return fd;
}

static int take_file(void *owner, const char *name, int fd, const struct control_handed *by,
		     struct bpull_error *error)
{
	close(fd);
	if (*name)
		return 0;
	snprintf(error->message, sizeof(error->message), "no name");
	return -EINVAL;
}

static int give_file_back(void *owner, const char *name, struct bpull_error *error)
{
	return -ENOENT;
}

static void settle_files(void *owner, const struct control_target *target,
			 const struct control_handed *gone)
{
}

static const struct control_files given = { take_file, give_file_back, settle_files };

/* An image that no chain has, for blockdev-add. */
static void put_spare(struct sim *sim)
{
	struct build_how how = { .guest_len = 64 * KiB };
	struct build_image spare = build_image(&how);

	sim_file_put(sim, "/spare", spare.bytes, spare.len);
	build_image_free(&spare);
}

/* What comes until the next line, with its end. */
static size_t line_end(const uint8_t *data, size_t at, size_t size)
{
	const uint8_t *nl = memchr(data + at, '\n', size - at);

	return nl ? (size_t)(nl - data) + 1 : size;
}

static void talk(struct control_target *target, struct bpull_engine *engine, const uint8_t *data,
		 size_t size)
{
	struct control_stream stream = { .text = sim_need(malloc(CONTROL_MAX_VALUE)) };
	struct control_handed handed = { .is_there = false };
	bool negotiated = size && data[0] & 1;
	char last[32] = "null";

	target->handed = &handed;
	for (size_t at = 1, end; at < size; at = end) {
		struct bpull_event event;

		if (data[0] & 2 && !handed.is_there)
			handed = (struct control_handed){ dup(STDERR_FILENO), true };
		end = line_end(data, at, size);
		feed(target, &negotiated, &stream, data + at, end - at);
		control_job_look(target);
		if (bpull_engine_process(engine, &event, 1) == 1)
			control_job_event(target, &event);
		take_news(target, last);
	}
	if (handed.is_there)
		close(handed.fd);
	free(stream.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct build_how how = { .guest_len = 64 * KiB,
				 .backing_name = "b1",
				 .backing_format = "raw" };
	struct build_image image = build_image(&how);
	struct sim *sim = fuzz_world(image.bytes, image.len);
	struct sim_chain chain = { .unnamed = IMAGE_RAW, .how = { .format = IMAGE_QCOW2 } };
	struct bpull_disk_options files = { .size = sizeof(files),
					    .open_file = open_copy,
					    .open_opaque = sim };
	struct control_target target = { .device = "drive0",
					 .path = FUZZ_TOP,
					 .how = &files,
					 .others = &files,
					 .files = &given,
					 .job = { .size = sizeof(target.job) },
					 .stays = true };
	struct sim_pull p = { 0 };

	put_spare(sim);
	FUZZ_CHECK(!sim_pull_open(&p, &chain, sim, NULL, SIM_PULL_MEMORY, 0), "%s",
		   p.error.message);
	target.disk = p.disk;
	control_nodes_open(&target);
	FUZZ_CHECK(target.top, "the chain has no nodes");
	talk(&target, p.engine, data, size);
	control_forget(&target);
	sim_pull_close(&p);
	sim_free(sim);
	build_image_free(&image);
	return 0;
}
