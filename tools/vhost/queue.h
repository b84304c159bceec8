/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A queue of a session: where its ring is, whether it runs, its requests. */
#ifndef TOOLS_VHOST_QUEUE_H
#define TOOLS_VHOST_QUEUE_H

#include <stdbool.h>

#include "tools/vhost/session.h"

/* Finds where the ring's parts lie, by the addresses and the memory that there are now. */
void vhost_queue_place(struct vhost_session *session, struct vhost_queue *queue);
/* It would run if it were looked at. Nothing is touched. */
bool vhost_queue_is_up(const struct vhost_session *session, const struct vhost_queue *queue);
/* Looks at the ring, if that was not done since its start. True: requests may be taken from it. */
bool vhost_queue_make_ready(struct vhost_session *session, struct vhost_queue *queue);
/* Looks at the ring as vhost_queue_make_ready() does, also at one that is not enabled. True: there
 * are requests that the last process left, and that are not begun again yet. The ring may not be
 * stopped before they are done: only the in-flight region knows of them. */
bool vhost_queue_find_owed(struct vhost_queue *queue);
/* The next request: 1; 0: there is none; -errno: the ring is broken now. */
int vhost_queue_take(struct vhost_queue *queue, uint16_t *head);
/* The next one that the last process left: false: there is none. */
bool vhost_queue_take_again(struct vhost_queue *queue, uint16_t *head);
/* Gives a request back; the guest sees it after vhost_queue_publish(). */
void vhost_queue_end(struct vhost_queue *queue, uint16_t head, uint32_t len);
/* Shows the guest what was given back; n_begun are in flight. Tells it if it wants to know, unless
 * vring_tells_later(): then vhost_queue_tell() must follow before the caller sleeps. */
void vhost_queue_publish(struct vhost_session *session, struct vhost_queue *queue,
			 unsigned n_begun);
/* Tells the guest of what it was shown, if it wants to know. */
void vhost_queue_tell(struct vhost_queue *queue);
/* Nothing more is taken from the ring; the frontend is told. */
void vhost_queue_break(struct vhost_queue *queue);
/* True: a queue is started, enabled or not. */
bool vhost_queue_any_started(const struct vhost_session *session);
/* Stops it: its descriptors are closed, and its ring is not touched any more. */
void vhost_queue_stop(struct vhost_session *session, struct vhost_queue *queue);
/* Notes that guest memory was written to, for the migration of the guest. */
void vhost_log_write(struct vhost_session *session, uint64_t guest_addr, uint64_t len);

#endif
