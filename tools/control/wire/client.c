/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One connection. Queues are bounded: a client is not listened to while it does
 * not read its answers, and one that does not read its events is dropped, never
 * waited for.
 */
#include "tools/control/wire/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <json-c/json.h>

#include "tools/sockets/retry.h"

/* With so much unread a client is dropped. The longest answer tells of 257 files, each by four
 * names of 4 KiB of which JSON makes up to six times as much, and of the 64 that clients may have
 * added: none of those is too long. */
#define MAX_OUT   (32u * 1024 * 1024)
#define FIRST_OUT (64u * 1024)
/* With so much on its way to a client, it is not listened to. */
#define MUCH_OUT (64u * 1024)

static void client_drop_file(struct control_client *client)
{
	if (client->handed.is_there)
		close(client->handed.fd);
	client->handed.is_there = false;
}

void control_client_drop(struct control_client *client)
{
	client_drop_file(client);
	close(client->fd);
	free(client->stream.text);
	free(client->out);
	*client = (struct control_client){ .fd = -1, .has_gone = true };
}

/* Takes what send() or recv() returned. True: bytes went. False: they may go later, or the
 * connection is at its end, and the client is dropped. */
static bool client_take_transfer(struct control_client *client, ssize_t n)
{
	if (n <= 0 && !(n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)))
		control_client_drop(client);
	return n > 0;
}

void control_client_flush(struct control_client *client)
{
	while (client->out_at < client->out_len) {
		ssize_t n =
			TEMP_FAILURE_RETRY(send(client->fd, client->out + client->out_at,
						client->out_len - client->out_at, MSG_NOSIGNAL));

		if (!client_take_transfer(client, n))
			return;
		client->out_at += n;
	}
	free(client->out); /* a long answer is rare: its memory is not kept */
	client->out = NULL;
	client->out_at = client->out_len = client->out_cap = 0;
}

static size_t client_out_left(const struct control_client *client)
{
	return client->out_len - client->out_at;
}

/* False: it is more than may wait, or there is no memory. */
static bool client_make_room(struct control_client *client, size_t len)
{
	size_t cap = client->out_cap ? client->out_cap : FIRST_OUT;
	char *out;

	if (len > MAX_OUT - client_out_left(client))
		return false;
	if (client->out_at) {
		memmove(client->out, client->out + client->out_at, client_out_left(client));
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

void control_client_say(struct control_client *client, struct json_object *value)
{
	const char *text =
		value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (!text || !client_make_room(client, len + 2)) {
		control_client_drop(client);
	} else {
		memcpy(client->out + client->out_len, text, len);
		memcpy(client->out + client->out_len + len, "\r\n", 2);
		client->out_len += len + 2;
		control_client_flush(client);
	}
	json_object_put(value);
}

void control_client_open(struct control_client *client, int fd)
{
	*client = (struct control_client){ .fd = fd, .stream.text = malloc(CONTROL_MAX_VALUE) };
	if (!client->stream.text)
		control_client_drop(client);
}

bool control_client_is_behind(const struct control_client *client)
{
	return client_out_left(client) >= MUCH_OUT;
}

/* With room for one descriptor: the kernel closes what is more. CMSG_SPACE() has room for two,
 * where it rounds up. */
static ssize_t client_receive_file(struct control_client *client)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { client->in, sizeof(client->in) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.room,
				  .msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t n = TEMP_FAILURE_RETRY(recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC));
	const struct cmsghdr *head = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS ||
	    head->cmsg_len < CMSG_LEN(sizeof(int)))
		return n;
	client_drop_file(client);
	memcpy(&client->handed.fd, CMSG_DATA(head), sizeof(int));
	client->handed.is_there = true;
	return n;
}

bool control_client_receive(struct control_client *client, bool takes_files)
{
	ssize_t n =
		takes_files
			? client_receive_file(client)
			: TEMP_FAILURE_RETRY(recv(client->fd, client->in, sizeof(client->in), 0));

	if (!client_take_transfer(client, n))
		return false;
	client->in_at = 0;
	client->in_len = n;
	return true;
}
