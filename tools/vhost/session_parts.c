/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the functions of all messages share. */
#include "tools/vhost/session_parts.h"

void vhost_answer_u64(struct vhost_call *call, uint64_t value)
{
	call->answer.payload.u64 = value;
	call->answer.header.len = sizeof(value);
}

int vhost_take_fd(struct vhost_message *m, unsigned i)
{
	int fd = i < m->n_fds ? m->fds[i] : -1;

	if (i < m->n_fds)
		m->fds[i] = -1;
	return fd;
}
