/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control socket's connections. Who may open the socket may steer the
 * job, so it is its owner's alone (0600), made so before a client can connect.
 * Values and queues are bounded: a client is not listened to while it does not
 * read its answers, and one that does not read its events is dropped, never
 * waited for. A thread a client was rejected: the owner has a loop already.
 */
#include "tools/control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include "tools/control/args.h"
#include "tools/control/stream.h"

/* With so much unread a client is dropped. The longest answer tells of 257 files, each by two names
 * of 4 KiB of which JSON makes up to six times as much: none of those is too long. */
#define MAX_OUT   (16u * 1024 * 1024)
#define FIRST_OUT (64u * 1024)
#define MAX_IN    4096u
/* With so much on its way to a client, it is not listened to. */
#define MUCH_OUT (64u * 1024)
#define BACKLOG  4

struct client {
	int fd; /* -1: free */
	bool negotiated;
	char in[MAX_IN]; /* received, [in_at, in_len) not looked at */
	size_t in_at, in_len;
	struct control_stream stream;
	char *out; /* out_cap bytes, [out_at, out_len) on their way; NULL: there is nothing */
	size_t out_at, out_len, out_cap;
};

struct control {
	struct control_target *target;
	int fd;
	struct sockaddr_un address;
	struct client clients[CONTROL_MAX_CLIENTS];
};

/* ---- the socket ---- */

__attribute__((format(printf, 3, 4))) static int fail(struct bpull_error *error, int code,
						      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error->code = code;
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return code;
}

/* A socket at which no process listens is what a killed process left. 0: there is none any more. */
static int remove_stale(const struct sockaddr_un *address, struct bpull_error *error)
{
	struct stat st;
	int fd, rc;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0
				       : fail(error, -errno, "control socket %s: %s",
					      address->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return fail(error, -EEXIST, "control socket %s: a file that is no socket is there",
			    address->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(error, -errno, "control socket: %s", strerror(errno));
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	close(fd);
	if (!rc)
		return fail(error, -EBUSY, "control socket %s: another process listens there",
			    address->sun_path);
	if (errno != ECONNREFUSED)
		return fail(error, -errno, "control socket %s: %s", address->sun_path,
			    strerror(errno));
	return unlink(address->sun_path) ? fail(error, -errno, "control socket %s: %s",
						address->sun_path, strerror(errno))
					 : 0;
}

static int socket_failed(const struct sockaddr_un *address, int code, struct bpull_error *error)
{
	return fail(error, code, "control socket %s: %s", address->sun_path, strerror(-code));
}

/* A socket with its name that does not listen: no client can connect yet. */
static int make_socket(const char *path, struct sockaddr_un *address, int *out,
		       struct bpull_error *error)
{
	int fd, rc;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(address->sun_path))
		return fail(error, -ENAMETOOLONG, "control socket: a name of 1 to %zu bytes",
			    sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, strlen(path) + 1);
	rc = remove_stale(address, error);
	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(error, -errno, "control socket: %s", strerror(errno));
	rc = bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
	if (!rc && chmod(address->sun_path, 0600))
		rc = -errno;
	if (rc) {
		close(fd);
		return socket_failed(address, rc, error);
	}
	*out = fd;
	return 0;
}

int control_try(const char *path, struct bpull_error *error)
{
	struct sockaddr_un address;
	int fd, rc = make_socket(path, &address, &fd, error);

	if (rc)
		return rc;
	close(fd);
	unlink(address.sun_path);
	return 0;
}

int control_open(const char *path, struct control_target *target, struct control **out,
		 struct bpull_error *error)
{
	struct control *control = calloc(1, sizeof(*control));
	int rc = 0;

	if (!control)
		return fail(error, -ENOMEM, "out of memory");
	control->target = target;
	control->fd = -1;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		control->clients[i].fd = -1;
	rc = make_socket(path, &control->address, &control->fd, error);
	if (!rc && listen(control->fd, BACKLOG)) {
		rc = socket_failed(&control->address, -errno, error);
		unlink(path);
	}
	if (rc) {
		if (control->fd >= 0)
			close(control->fd);
		free(control);
		return rc;
	}
	control_nodes_open(target);
	*out = control;
	return 0;
}

/* ---- clients ---- */

static void drop(struct client *client)
{
	close(client->fd);
	free(client->stream.text);
	free(client->out);
	*client = (struct client){ .fd = -1 };
}

/* After send() and recv(): did bytes go? If not, it is for later, or for good: then the client is
 * dropped. */
static bool has_moved(struct client *client, ssize_t n)
{
	if (n <= 0 && !(n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)))
		drop(client);
	return n > 0;
}

static void flush(struct client *client)
{
	while (client->out_at < client->out_len) {
		ssize_t n =
			TEMP_FAILURE_RETRY(send(client->fd, client->out + client->out_at,
						client->out_len - client->out_at, MSG_NOSIGNAL));

		if (!has_moved(client, n))
			return;
		client->out_at += n;
	}
	free(client->out); /* a long answer is rare: its memory is not kept */
	client->out = NULL;
	client->out_at = client->out_len = client->out_cap = 0;
}

static size_t out_left(const struct client *client)
{
	return client->out_len - client->out_at;
}

/* False: it is more than may wait, or there is no memory. */
static bool make_room(struct client *client, size_t len)
{
	size_t cap = client->out_cap ? client->out_cap : FIRST_OUT;
	char *out;

	if (len > MAX_OUT - out_left(client))
		return false;
	if (client->out_at) {
		memmove(client->out, client->out + client->out_at, out_left(client));
		client->out_len -= client->out_at;
		client->out_at = 0;
	}
	while (cap < client->out_len + len)
		cap *= 2;
	if (cap == client->out_cap)
		return true;
	out = realloc(client->out, cap);
	if (!out)
		return false;
	client->out = out;
	client->out_cap = cap;
	return true;
}

/* Queues a line; takes over the reference. */
static void say(struct client *client, struct json_object *value)
{
	const char *text =
		value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (!text || !make_room(client, len + 2)) {
		drop(client);
	} else {
		memcpy(client->out + client->out_len, text, len);
		memcpy(client->out + client->out_len + len, "\r\n", 2);
		client->out_len += len + 2;
		flush(client);
	}
	json_object_put(value);
}

static void greet(struct control *control, int fd)
{
	struct client *client = control->clients;

	while (client < control->clients + CONTROL_MAX_CLIENTS && client->fd >= 0)
		client++;
	if (client == control->clients + CONTROL_MAX_CLIENTS) {
		close(fd);
		return;
	}
	*client = (struct client){ .fd = fd, .stream.text = malloc(CONTROL_MAX_VALUE) };
	if (!client->stream.text)
		drop(client);
	else
		say(client, control_greeting());
}

/* As many as may wait, and no more at a time. */
static void take_clients(struct control *control)
{
	for (unsigned i = 0; i <= BACKLOG; i++) {
		int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		greet(control, fd);
	}
}

/* To all who have negotiated. */
static void tell_news(struct control *control)
{
	struct json_object *event;

	while ((event = control_take_news(control->target))) {
		for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
			if (control->clients[i].fd >= 0 && control->clients[i].negotiated)
				say(&control->clients[i], json_object_get(event));
		json_object_put(event);
	}
}

static struct json_object *answer(struct control *control, struct client *client,
				  enum control_piece piece)
{
	const char *why = client->stream.why;
	struct json_object *request = NULL, *said;

	if (piece == CONTROL_VALUE)
		request = control_parse(client->stream.text, client->stream.len, &why);
	said = piece == CONTROL_GARBAGE || (!request && why)
		       ? control_refuse("GenericError", "%s", why)
		       : control_answer(control->target, &client->negotiated, request);
	json_object_put(request);
	return said;
}

/* Answers what has come, as far as the client takes the answers. */
static void answer_all(struct control *control, struct client *client)
{
	enum control_piece piece;

	while (client->fd >= 0 && client->in_at < client->in_len && out_left(client) < MUCH_OUT) {
		client->in_at += control_stream_take(&client->stream, client->in + client->in_at,
						     client->in_len - client->in_at, &piece);
		if (!piece)
			continue;
		say(client, answer(control, client, piece));
		tell_news(control);
	}
}

/* One piece at a time: the owner has more to do than to hear a client that never stops, and polls
 * again. */
static void hear(struct control *control, struct client *client)
{
	ssize_t n;

	answer_all(control, client);
	if (client->fd < 0 || client->in_at != client->in_len)
		return;
	n = TEMP_FAILURE_RETRY(recv(client->fd, client->in, MAX_IN, 0));
	if (!has_moved(client, n))
		return;
	client->in_at = 0;
	client->in_len = n;
	answer_all(control, client);
}

/* ---- the owner's calls ---- */

int control_poll_fds(const struct control *control, struct pollfd *fds)
{
	int n = 0;

	fds[n++] = (struct pollfd){ .fd = control->fd, .events = POLLIN };
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		const struct client *client = &control->clients[i];
		short hears = client->in_at == client->in_len ? POLLIN : 0;

		if (client->fd >= 0)
			fds[n++] = (struct pollfd){
				.fd = client->fd,
				.events = hears | (client->out_len ? POLLOUT : 0),
			};
	}
	return n;
}

void control_process(struct control *control)
{
	/* What came before a client negotiated is not for it. */
	tell_news(control);
	take_clients(control);
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (control->clients[i].fd >= 0)
			flush(&control->clients[i]);
		if (control->clients[i].fd >= 0)
			hear(control, &control->clients[i]);
	}
	control_job_look(control->target);
	tell_news(control);
}

void control_event(struct control *control, const struct bpull_event *event)
{
	control_job_look(control->target);
	control_job_event(control->target, event);
	tell_news(control);
}

void control_close(struct control *control)
{
	if (!control)
		return;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		if (control->clients[i].fd >= 0)
			drop(&control->clients[i]);
	close(control->fd);
	unlink(control->address.sun_path);
	control_forget(control->target);
	free(control);
}
