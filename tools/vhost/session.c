/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From a message to its answer. A request that can't be done is answered so
 * where the frontend waits for an answer; where it does not, going on would
 * serve a guest whose memory or rings are other than the frontend believes, and
 * the connection is ended instead.
 */
#include "tools/vhost/session.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/vhost/channel.h"
#include "tools/vhost/mapping.h"
#include "tools/vhost/queue.h"
#include "tools/vhost/session_parts.h"

static void session_close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

int vhost_session_open(struct vhost_session *s, const struct blk_geometry *geometry,
		       const struct vhost_ops *ops, void *opaque)
{
	*s = (struct vhost_session){ .ops = ops,
				     .opaque = opaque,
				     .geometry = geometry,
				     .write_back = true,
				     .backend_fd = -1,
				     .state_fd = -1 };
	s->queues = calloc(geometry->n_queues, sizeof(*s->queues));
	if (!s->queues)
		return -ENOMEM;
	for (unsigned i = 0; i < geometry->n_queues; i++) {
		s->queues[i].index = i;
		s->queues[i].kick_fd = s->queues[i].call_fd = s->queues[i].err_fd = -1;
	}
	return 0;
}

void vhost_session_close(struct vhost_session *s)
{
	for (unsigned i = 0; s->queues && i < s->geometry->n_queues; i++)
		vhost_queue_stop(s, &s->queues[i]);
	free(s->queues);
	s->queues = NULL;
	vhost_memory_clear(&s->memory);
	vhost_unmap(s->inflight_map, s->inflight_map_len);
	vhost_unmap(s->log_map, s->log_map_len);
	session_close_fd(s->backend_fd);
	session_close_fd(s->state_fd);
	s->inflight_map = s->inflight = s->log_map = s->log = NULL;
	s->backend_fd = s->state_fd = -1;
}

static vhost_part *session_part(uint32_t number)
{
	if (vhost_ring_parts[number])
		return vhost_ring_parts[number];
	return vhost_memory_parts[number] ? vhost_memory_parts[number] : vhost_device_parts[number];
}

static enum vhost_outcome session_send(struct vhost_call *call, int answer_fd, const char **why)
{
	int rc = vhost_channel_send(answer_fd, &call->answer, call->answer_fd);

	session_close_fd(call->answer_fd);
	if (!rc)
		return VHOST_GO_ON;
	*why = "it does not take its answer";
	return VHOST_HANG_UP;
}

enum vhost_outcome vhost_session_handle(struct vhost_session *s, struct vhost_message *m,
					int answer_fd, const char **why)
{
	struct vhost_call call = { .message = m, .answer.header = m->header, .answer_fd = -1 };
	bool wants_ack = m->header.flags & VHOST_NEED_REPLY &&
			 s->protocol_features & VHOST_BIT(VHOST_PROTOCOL_REPLY_ACK);
	const char *wrong = vhost_message_wrong(m, s->protocol_features);

	*why = wrong;
	if (wrong)
		return VHOST_HANG_UP;
	call.answer.header.flags = VHOST_VERSION | VHOST_REPLY;
	call.answer.header.len = 0;
	wrong = session_part(m->header.number)(s, &call);
	if (wrong)
		session_close_fd(call.answer_fd);
	*why = wrong ? wrong : call.refusal;
	if (vhost_message_is_question(m))
		return wrong ? VHOST_HANG_UP : session_send(&call, answer_fd, why);
	if (!wants_ack)
		return wrong ? VHOST_HANG_UP : VHOST_GO_ON;
	vhost_answer_u64(&call, wrong ? 1 : 0);
	return session_send(&call, answer_fd, why);
}

void vhost_session_config_changed(struct vhost_session *s)
{
	const struct vhost_message m = { .header = { VHOST_BACKEND_CONFIG_CHANGE, VHOST_VERSION,
						     0 } };

	if (s->backend_fd >= 0 && s->protocol_features & VHOST_BIT(VHOST_PROTOCOL_CONFIG))
		vhost_channel_send(s->backend_fd, &m, -1);
}
