/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A session without a process behind it: what a frontend says, and the memory that it gives. */
#ifndef TESTS_UNIT_TOOLS_VHOST_RIG_H
#define TESTS_UNIT_TOOLS_VHOST_RIG_H

#include "tools/vhost/queue.h"
#include "tools/vhost/session.h"

#define RIG_MEMORY (1u << 20)
#define RIG_GUEST  UINT64_C(0x100000)       /* guest address of its first byte */
#define RIG_USER   UINT64_C(0x7f0000000000) /* the frontend's own */
#define RIG_SIZE   8u                       /* of a ring */

struct rig {
	struct blk_geometry geometry;
	struct vhost_session session;
	int ends[2]; /* of a socket pair: the session answers to ends[0] */
	int memory_fd;
	uint8_t *memory;         /* as the guest has it */
	struct vring_desc *desc; /* of queue 0, by that */
	struct vring_avail *avail;
	struct vring_used *used;
	int kick_fd, call_fd;
	unsigned n_drains, n_watched; /* what the session asked of its owner */
	unsigned n_stops;             /* how often it said that the last ring was stopped */
	const char *why;              /* of the last message that ended the connection */
	struct vhost_message answer;  /* to the last question */
	int answer_fd;                /* that came with it; -1 */
	int inflight_fd;              /* the region, once there is one; -1 */
	struct vhost_inflight_message inflight;
};

void rig_open(struct rig *rig);
void rig_close(struct rig *rig);
/* The backend's process ends, and a new one is there: memory and region stay. */
void rig_die(struct rig *rig);
/* Sends a message to the session. False: the connection is over. */
bool rig_say(struct rig *rig, uint32_t number, uint32_t flags, const void *payload, uint32_t len,
	     const int *fds, unsigned n_fds);
bool rig_say_u64(struct rig *rig, uint32_t number, uint64_t value);
bool rig_say_state(struct rig *rig, uint32_t number, uint32_t index, uint32_t num);
bool rig_say_fd(struct rig *rig, uint32_t number, uint32_t index, int fd);
/* The parts of a usual start, for queue 0. */
bool rig_features(struct rig *rig, uint64_t features);
bool rig_protocol(struct rig *rig, uint64_t features);
bool rig_table(struct rig *rig);
bool rig_ring(struct rig *rig);
bool rig_kick(struct rig *rig);
bool rig_enable(struct rig *rig, bool on);
bool rig_inflight(struct rig *rig);
/* The guest's part: makes head available. */
void rig_offer(struct rig *rig, uint16_t head);
/* The head that the queue gives. -1: it does not run, or there is none. */
int rig_take(struct rig *rig);
/* The same of what was in flight when the last process ended. */
int rig_take_again(struct rig *rig);
struct vhost_queue *rig_queue(struct rig *rig);

#endif
