/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/pull/servers.h"

#include <json-c/json_object.h>

#include "tools/cli/say.h"

static void servers_json(const struct bpull_nbd_source *source)
{
	struct json_object *line = json_object_new_object();

	json_object_object_add(line, "event", json_object_new_string("server"));
	json_object_object_add(line, "uri", say_json_text(source->uri));
	json_object_object_add(line, "state",
			       json_object_new_string(bases_state_word(source->state)));
	json_object_object_add(line, "error",
			       *source->message ? say_json_text(source->message) : NULL);
	json_object_object_add(line, "bytes-read", json_object_new_uint64(source->bytes_read));
	json_object_object_add(line, "reconnects", json_object_new_uint64(source->reconnects));
	say_json(line, SAY_JSON_LINE);
}

/* A server that stays away stops the job, and another disk ends it: the job's sentence tells that.
 * A command that was busy meanwhile may see a server that is away first. */
static void servers_say(const struct bpull_nbd_source *source, enum bpull_nbd_state before)
{
	if (source->state == BPULL_NBD_RECONNECTING ||
	    (source->state == BPULL_NBD_AWAY && before != BPULL_NBD_RECONNECTING))
		say_note("'%s' is lost%s%s; trying to connect again", source->uri,
			 *source->message ? ": " : "", source->message);
	else if (source->state == BPULL_NBD_CONNECTED &&
		 (before == BPULL_NBD_RECONNECTING || before == BPULL_NBD_AWAY))
		say_note("'%s' is back", source->uri);
}

void servers_say_changes(struct bases *bases, struct progress *progress, bool quiet)
{
	struct bpull_nbd_source source;
	enum bpull_nbd_state before;

	while (bases_next_change(bases, &source, &before)) {
		if (source.state == BPULL_NBD_CLOSED)
			continue; /* its image has ended */
		if (progress->mode == PROGRESS_JSON) {
			servers_json(&source);
		} else if (!quiet) {
			progress_clear(progress);
			servers_say(&source, before);
		}
	}
}

void servers_add(const struct bases *bases, struct progress_now *now)
{
	enum bpull_nbd_state state;

	now->has_servers = bases_sum(bases, &now->from_servers, &state);
	now->server_state = now->has_servers ? bases_state_word(state) : NULL;
	now->servers_well = !now->has_servers || state == BPULL_NBD_CONNECTED;
}

struct json_object *servers_json_total(const struct bases *bases)
{
	struct json_object *network;
	enum bpull_nbd_state state;
	uint64_t bytes;

	if (!bases_sum(bases, &bytes, &state))
		return NULL;
	network = json_object_new_object();
	json_object_object_add(network, "bytes-read", json_object_new_uint64(bytes));
	return network;
}
