/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Messages about the device as a whole. SET_FEATURES neither stops nor enables a
 * ring: a migration switches the log by it while the guest goes on.
 */
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/vhost/queue.h"
#include "tools/vhost/session_parts.h"

static const char *device_get_features(struct vhost_session *s, struct vhost_call *call)
{
	vhost_answer_u64(call, blk_features(s->geometry));
	return NULL;
}

static const char *device_set_features(struct vhost_session *s, struct vhost_call *call)
{
	uint64_t features = call->message->payload.u64;

	if (features & ~blk_features(s->geometry))
		return "it acknowledges features that were not offered";
	/* What is in flight was not noted for the log, and ends by the old rules. */
	if (features != s->features)
		s->ops->drain(s->opaque, NULL);
	s->features = features;
	for (unsigned i = 0; i < s->geometry->n_queues; i++)
		vhost_queue_place(s, &s->queues[i]);
	return NULL;
}

static const char *device_get_protocol_features(struct vhost_session *s, struct vhost_call *call)
{
	(void)s;
	vhost_answer_u64(call, VHOST_PROTOCOL_OFFERED);
	return NULL;
}

/* Bits that were not offered have other meanings elsewhere: they are not taken. */
static const char *device_set_protocol_features(struct vhost_session *s, struct vhost_call *call)
{
	s->protocol_features = call->message->payload.u64 & VHOST_PROTOCOL_OFFERED;
	return NULL;
}

static const char *device_get_queue_num(struct vhost_session *s, struct vhost_call *call)
{
	vhost_answer_u64(call, s->geometry->n_queues);
	return NULL;
}

static const char *device_set_owner(struct vhost_session *s, struct vhost_call *call)
{
	(void)s;
	(void)call;
	return NULL;
}

static const char *device_reset_owner(struct vhost_session *s, struct vhost_call *call)
{
	(void)call;
	for (unsigned i = 0; i < s->geometry->n_queues; i++)
		s->queues[i].is_enabled = false;
	return NULL;
}

static void device_set_cache(struct vhost_session *s, bool write_back)
{
	s->write_back = write_back;
	if (s->inflight)
		inflight_save_cache(s->inflight, s->inflight_len, s->n_inflight_queues,
				    s->inflight_size, write_back);
}

static const char *device_reset(struct vhost_session *s, struct vhost_call *call)
{
	bool was_started = vhost_queue_any_started(s);

	(void)call;
	s->ops->drain(s->opaque, NULL);
	for (unsigned i = 0; i < s->geometry->n_queues; i++) {
		struct vhost_queue *q = &s->queues[i];

		vhost_queue_stop(s, q);
		q->is_enabled = false;
		q->ring.last_avail = 0;
	}
	s->features = 0;
	device_set_cache(s, true);
	if (was_started)
		s->ops->all_stopped(s->opaque);
	return NULL;
}

static const char *device_set_backend_fd(struct vhost_session *s, struct vhost_call *call)
{
	if (s->backend_fd >= 0)
		close(s->backend_fd);
	s->backend_fd = vhost_take_fd(call->message, 0);
	return NULL;
}

/* ---- configuration ---- */

/* An answer without a payload says that it was refused. */
static const char *device_get_config(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_config_message *asked = &call->message->payload.config;
	struct vhost_config_message *answer = &call->answer.payload.config;

	if (asked->len > VHOST_MAX_CONFIG || asked->off > VHOST_MAX_CONFIG - asked->len)
		return NULL;
	*answer = (struct vhost_config_message){ asked->off, asked->len, asked->flags, { 0 } };
	blk_config_read(s->geometry, s->write_back, asked->off, asked->len, answer->bytes);
	call->answer.header.len = VHOST_CONFIG_HEAD + asked->len;
	return NULL;
}

static const char *device_set_config(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_config_message *m = &call->message->payload.config;
	bool write_back;

	if (m->off > VHOST_MAX_CONFIG - m->len)
		return "the range is outside the configuration";
	/* A frontend may write all of it to change the one byte. */
	if (blk_config_write(m->off, m->len, m->bytes, &write_back))
		device_set_cache(s, write_back);
	return NULL;
}

/* ---- the state, for snapshots and migration ---- */

/* What another process must know to go on, beyond what the frontend tells it. */
struct device_state {
	uint32_t magic, version;
	uint8_t write_back, zero[7];
};
#define STATE_MAGIC   0x73766c62u
#define STATE_VERSION 1u

static void device_drop_state_fd(struct vhost_session *s)
{
	if (s->state_fd >= 0)
		close(s->state_fd);
	s->state_fd = -1;
}

/* Nothing else can be read without a wait: a server may be slow with a file, a device endless. */
static bool device_is_pipe(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) &&
	       !fcntl(fd, F_SETFL, O_NONBLOCK);
}

static const char *device_set_state_fd(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_state_message *m = &call->message->payload.device_state;
	const struct device_state state = { STATE_MAGIC, STATE_VERSION, s->write_back, { 0 } };
	int fd = vhost_take_fd(call->message, 0);
	bool is_good = !m->phase && m->direction <= VHOST_STATE_LOAD && device_is_pipe(fd);

	if (!is_good)
		call->refusal =
			"a state goes through a pipe or a socket, while the rings stand still";
	device_drop_state_fd(s);
	if (is_good && m->direction == VHOST_STATE_SAVE)
		is_good = write(fd, &state, sizeof(state)) == sizeof(state);
	if (!is_good && !call->refusal)
		call->refusal = "the pipe does not take the state";
	if (is_good && m->direction == VHOST_STATE_LOAD)
		s->state_fd = fd;
	else
		close(fd);
	vhost_answer_u64(call, VHOST_STATE_NOFD | !is_good);
	return NULL;
}

/* Reads to the end, which the frontend has made before it asks. Returns how many bytes came; -1: it
 * has no end yet, is longer than a state, or can't be read. */
static ssize_t device_read_state(int fd, struct device_state *state)
{
	uint8_t bytes[sizeof(*state) + 1];
	size_t have = 0;
	ssize_t n;

	do {
		n = read(fd, bytes + have, sizeof(bytes) - have);
		have += n > 0 ? n : 0;
	} while (n > 0 && have < sizeof(bytes));
	memcpy(state, bytes, have < sizeof(*state) ? have : sizeof(*state));
	return n ? -1 : (ssize_t)have;
}

/* Why the state is refused; NULL: it is taken. An empty state is one, too: what it would say is as
 * it is after a start. A later version may be longer. */
static const char *device_load_state(struct vhost_session *s)
{
	struct device_state state = { 0 }, known = { STATE_MAGIC, STATE_VERSION, 0, { 0 } };
	ssize_t n = device_read_state(s->state_fd, &state);

	if (!n)
		return NULL;
	if (state.magic == STATE_MAGIC && state.version > STATE_VERSION)
		return "the device's state is a newer blockpull's, which this one can't read";
	known.write_back = state.write_back != 0;
	if (n != sizeof(state) || memcmp(&state, &known, sizeof(state)) != 0)
		return "the device's state is none that blockpull writes";
	device_set_cache(s, state.write_back);
	return NULL;
}

static const char *device_check_state(struct vhost_session *s, struct vhost_call *call)
{
	call->refusal = s->state_fd < 0 ? NULL : device_load_state(s);
	device_drop_state_fd(s);
	vhost_answer_u64(call, call->refusal ? 1 : 0);
	return NULL;
}

vhost_part *const vhost_device_parts[VHOST_N_NUMBERS] = {
	[VHOST_GET_FEATURES] = device_get_features,
	[VHOST_SET_FEATURES] = device_set_features,
	[VHOST_GET_PROTOCOL_FEATURES] = device_get_protocol_features,
	[VHOST_SET_PROTOCOL_FEATURES] = device_set_protocol_features,
	[VHOST_GET_QUEUE_NUM] = device_get_queue_num,
	[VHOST_SET_OWNER] = device_set_owner,
	[VHOST_RESET_OWNER] = device_reset_owner,
	[VHOST_RESET_DEVICE] = device_reset,
	[VHOST_SET_BACKEND_REQ_FD] = device_set_backend_fd,
	[VHOST_GET_CONFIG] = device_get_config,
	[VHOST_SET_CONFIG] = device_set_config,
	[VHOST_SET_DEVICE_STATE_FD] = device_set_state_fd,
	[VHOST_CHECK_DEVICE_STATE] = device_check_state,
};
