/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * It asks as any QMP client would; a private protocol was rejected, since then
 * no other program could.
 */
#include "tools/ctl/ctl_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

#define ANSWER_MS 10000
#define MAX_LINE  (1u << 20)

static void ctl_client_say_unconnected(const char *path, int code)
{
	struct stat st;

	if (code == ECONNREFUSED && !stat(path, &st) && !S_ISSOCK(st.st_mode))
		say_error("'%s' is no socket: give the name that the command has as --control",
			  path);
	else if (code == ECONNREFUSED)
		say_error("'%s': no process listens there: the one that had it is over, or was "
			  "killed",
			  path);
	else
		say_error("'%s': %s", path, strerror(code));
	if (code == ENOENT)
		say_hint("the socket is there while a command with --control runs (pull, serve)");
}

int ctl_client_open(struct ctl_client *client, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*client = (struct ctl_client){ .path = path, .fd = -1, .in = malloc(MAX_LINE) };
	if (!client->in) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}

	if (strlen(client->path) >= sizeof(address.sun_path)) {
		say_error("'%s': too long for a socket's name", client->path);
		return EXIT_CODE_FAILED;
	}
	memcpy(address.sun_path, client->path, strlen(client->path) + 1);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd >= 0 && !connect(client->fd, (struct sockaddr *)&address, sizeof(address)))
		return 0;
	ctl_client_say_unconnected(path, errno);
	return EXIT_CODE_FAILED;
}

struct json_object *ctl_client_receive(struct ctl_client *client, int timeout_ms, bool *in_time)
{
	*in_time = true;
	for (;;) {
		struct pollfd ready = { .fd = client->fd, .events = POLLIN };
		char *end = memchr(client->in, '\n', client->in_len);
		struct json_object *value;
		ssize_t n;

		if (end) {
			*end = 0;
			value = json_tokener_parse(client->in);
			client->in_len -= end + 1 - client->in;
			memmove(client->in, end + 1, client->in_len);
			if (!value)
				say_error("'%s': its answer is no JSON", client->path);
			return value;
		}
		if (poll(&ready, 1, timeout_ms) == 0) {
			*in_time = false;
			return NULL;
		}
		n = client->in_len < MAX_LINE - 1 ? recv(client->fd, client->in + client->in_len,
							 MAX_LINE - 1 - client->in_len, 0)
						  : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		client->in_len += n;
	}
}

struct json_object *ctl_client_ask(struct ctl_client *client, const char *verb,
				   struct json_object *args)
{
	struct json_object *request = json_object_new_object(), *answer, *value, *error;
	bool in_time = true;
	int n;

	json_object_object_add(request, "execute", json_object_new_string(verb));
	if (args)
		json_object_object_add(request, "arguments", args);
	n = dprintf(client->fd, "%s\n",
		    json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
	json_object_put(request);
	while (n > 0 && (answer = ctl_client_receive(client, ANSWER_MS, &in_time))) {
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
	if (in_time)
		say_error("'%s': no answer: the process at the other end is over", client->path);
	else
		say_error("'%s': no answer for %d s: the process at the other end is busy, or "
			  "stopped; it may still do what was asked",
			  client->path, ANSWER_MS / 1000);
	return NULL;
}

void ctl_client_close(struct ctl_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client->in);
}
