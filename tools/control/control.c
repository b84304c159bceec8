/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The owner's side of the control socket: clients that come, requests that are
 * answered, events that all clients are told. A thread a client was rejected:
 * the owner has a loop already.
 */
#include "tools/control/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/control/getfd.h"
#include "tools/control/jobs/job_states.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/queries.h"
#include "tools/control/state/args.h"
#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"
#include "tools/control/verbs.h"
#include "tools/control/wire/client.h"
#include "tools/control/wire/socket.h"

struct control {
	struct control_target *target;
	int fd;
	struct address address;
	struct control_client clients[CONTROL_MAX_CLIENTS];
	unsigned long n_taken; /* of clients, ever */
};

int control_open(const char *path, struct control_target *target, struct control **out,
		 struct bpull_error *error)
{
	struct control *control = calloc(1, sizeof(*control));
	int rc;

	if (!control) {
		error->code = -ENOMEM;
		snprintf(error->message, sizeof(error->message), "out of memory");
		return -ENOMEM;
	}
	rc = control_socket_listen(path, &control->address, &control->fd, error);
	if (rc) {
		free(control);
		return rc;
	}
	control->target = target;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		control->clients[i].fd = -1;
	control_nodes_open(target);
	*out = control;
	return 0;
}

/* ---- clients ---- */

static void control_greet(struct control *control, int fd)
{
	struct control_client *client = control->clients;

	while (client < control->clients + CONTROL_MAX_CLIENTS && client->fd >= 0)
		client++;
	if (client == control->clients + CONTROL_MAX_CLIENTS) {
		close(fd);
		return;
	}
	control_client_open(client, fd);
	if (client->fd >= 0)
		control_client_say(client, control_greeting());
}

/* As many as may wait, and no more at a time. */
static void control_take_clients(struct control *control)
{
	for (unsigned i = 0; i <= CONTROL_BACKLOG; i++) {
		int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		control->n_taken++;
		control_greet(control, fd);
	}
}

/* Tells all clients that have negotiated. */
static void control_tell_news(struct control *control)
{
	struct json_object *event;

	while ((event = control_take_news(control->target))) {
		for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
			if (control->clients[i].fd >= 0 && control->clients[i].negotiated)
				control_client_say(&control->clients[i], json_object_get(event));
		json_object_put(event);
	}
}

static struct json_object *control_reply(struct control *control, struct control_client *client,
					 enum control_piece piece)
{
	const char *why = client->stream.why;
	struct json_object *request = NULL, *said;

	control->target->handed = &client->handed;
	if (piece == CONTROL_VALUE)
		request = control_parse(client->stream.text, client->stream.len, &why);
	said = piece == CONTROL_GARBAGE || (!request && why)
		       ? control_refuse("GenericError", "%s", why)
		       : control_answer(control->target, &client->negotiated, request);
	control->target->handed = NULL;
	control_files_settle(control->target, NULL);
	json_object_put(request);
	return said;
}

/* Before their places are others'. */
static void control_see_gone(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (control->clients[i].has_gone)
			control_files_settle(control->target, &control->clients[i].handed);
		control->clients[i].has_gone = false;
	}
}

/* Answers what has come, as far as the client takes the answers. */
static void control_answer_all(struct control *control, struct control_client *client)
{
	enum control_piece piece;

	while (client->fd >= 0 && client->in_at < client->in_len &&
	       !control_client_is_behind(client)) {
		client->in_at += control_stream_take(&client->stream, client->in + client->in_at,
						     client->in_len - client->in_at, &piece);
		if (!piece)
			continue;
		control_client_say(client, control_reply(control, client, piece));
		control_tell_news(control);
	}
}

/* One piece at a time: the owner has more to do than to hear a client that never stops, and polls
 * again. */
static void control_listen_to(struct control *control, struct control_client *client)
{
	control_answer_all(control, client);
	if (client->fd < 0 || client->in_at != client->in_len)
		return;
	if (control_client_receive(client, control->target->files))
		control_answer_all(control, client);
}

/* ---- the owner's calls ---- */

int control_poll_fds(const struct control *control, struct pollfd *fds)
{
	int n = 0;

	fds[n++] = (struct pollfd){ .fd = control->fd, .events = POLLIN };
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		const struct control_client *client = &control->clients[i];
		short hears = client->in_at == client->in_len ? POLLIN : 0;

		if (client->fd >= 0)
			fds[n++] = (struct pollfd){
				.fd = client->fd,
				.events = hears | (client->out_len ? POLLOUT : 0),
			};
	}
	return n;
}

unsigned long control_n_taken(const struct control *control)
{
	return control->n_taken;
}

void control_process(struct control *control)
{
	/* What came before a client negotiated is not for it. */
	control_tell_news(control);
	control_see_gone(control);
	control_take_clients(control);
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (control->clients[i].fd >= 0)
			control_client_flush(&control->clients[i]);
		if (control->clients[i].fd >= 0)
			control_listen_to(control, &control->clients[i]);
	}
	control_job_look(control->target);
	control_tell_news(control);
	control_see_gone(control);
}

void control_event(struct control *control, const struct bpull_event *event)
{
	control_job_look(control->target);
	control_job_event(control->target, event);
	control_files_settle(control->target, NULL);
	control_tell_news(control);
}

void control_close(struct control *control)
{
	if (!control)
		return;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		if (control->clients[i].fd >= 0)
			control_client_drop(&control->clients[i]);
	address_close(&control->address, control->fd);
	control_forget(control->target);
	free(control);
}
