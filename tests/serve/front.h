/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A frontend of our own: a machine's memory, rings and messages without a
 * machine. It drives a backend as VMMs do (orders.h), or as none should.
 */
#ifndef TESTS_SERVE_FRONT_H
#define TESTS_SERVE_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/vhost/message.h"
#include "tools/vhost/protocol.h"

#define FRONT_MAX_QUEUES 8
#define FRONT_DATA_LEN   (1u << 16) /* of memory, for a request's data, unless a test wants less */

/* Until what has to come counts as never coming: a busy machine takes its time. */
#define FRONT_PATIENCE_MS 120000

/* Memory is two regions with a hole between their guest addresses. */
#define FRONT_HOLE (UINT64_C(1) << 32)

/* A request of the guest's; its index is that of its first descriptor by three. */
struct front_slot {
	bool is_busy;
	uint32_t type;
	uint64_t sector;
	uint32_t len;
	uint64_t tag; /* the caller's */
	uint64_t began_ns;
};

struct front_queue {
	unsigned index, size, n_slots, next_slot;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx, used_idx; /* made, and seen */
	uint16_t kicked_idx;          /* avail_idx when the device was told last */
	bool event_idx;               /* VIRTIO_EVENT_IDX was acknowledged */
	uint16_t base;                /* what GET_VRING_BASE answered last */
	int kick_fd, call_fd;
	uint8_t *ends; /* 32 bytes a slot: header, status */
	uint8_t *data; /* data_len bytes a slot */
	size_t len;    /* of the ring and the ends, which lie at desc */
	size_t data_len;
	struct front_slot *slots;
	bool indirect;
	bool polled; /* neither side has a descriptor to tell the other by */
};

struct front {
	int fd;                               /* -1: not connected */
	uint64_t features, protocol_features; /* as offered, then as acknowledged */
	int memory_fd;
	uint8_t *memory;
	size_t memory_len;  /* a power of two; the second half is the second region */
	bool has_regions;   /* the backend was told of them, each by itself */
	bool asks;          /* by REPLY_ACK for an answer to what has none of its own */
	bool was_connected; /* ... to a backend before this one */
	int channel_fd;     /* where the backend tells of changes; -1: none */
	uint64_t queue_num; /* what GET_QUEUE_NUM answered */
	uint64_t n_regions; /* what GET_MAX_MEM_SLOTS answered */
	struct front_queue queues[FRONT_MAX_QUEUES];
	unsigned n_queues, queue_size; /* the VMM's: a driver may make its rings smaller */
	int inflight_fd;               /* -1: none yet */
	struct vhost_inflight_message inflight;
	int log_fd;
	uint8_t *log;
	size_t log_len; /* 0: of all memory, when the log is made */
	uint8_t config[VHOST_MAX_CONFIG];
};

/* What a machine has: rings of ring_size in queues that may have queue_size. */
struct front_shape {
	unsigned n_queues, queue_size, ring_size;
	size_t data_len; /* of memory, for a request's data */
};

/* True: a ring may have this size. */
bool front_is_size(unsigned size);
/* Makes memory and rings. Ends the program where it can't. */
void front_open(struct front *front, const struct front_shape *shape);
void front_close(struct front *front);
/* Connects, for at most so long. False: no process listens. */
bool front_connect(struct front *front, const char *path, int timeout_ms);
void front_disconnect(struct front *front);
/* The guest-physical address of a place in memory, and the one that the frontend gives rings by. */
uint64_t front_guest_addr(const struct front *front, const void *place);

/* ---- messages (front.c) ---- */

/* Sends a message; fd -1: none goes with it. False: the backend has gone. */
bool front_send(struct front *front, uint32_t number, uint32_t flags, const void *payload,
		uint32_t len, const int *fds, unsigned n_fds);
/* Receives an answer to that number, and the descriptor that comes with it (fd NULL: none may).
 * False: the backend has gone, or answers something else. */
bool front_receive(struct front *front, uint32_t number, struct vhost_message *answer, int *fd);
/* Sends the message that a VMM sends of this number (of this queue, where it is about one), and
 * takes its answer. False: the backend has gone, or refuses. */
bool front_say(struct front *front, uint32_t number, unsigned queue);
bool front_enable(struct front *front, unsigned queue, bool on);
/* Whether the disk has a cache, by SET_CONFIG. */
bool front_set_cache(struct front *front, bool on);

/* ---- requests (front_ring.c) ---- */

/* A free slot, of all in turn; -1: all are busy. */
int front_slot(struct front_queue *queue);
uint8_t *front_data(const struct front_queue *queue, int slot);
/* Puts a request of the slot's data into the ring; the guest rings by front_kick(). */
void front_submit(struct front *front, struct front_queue *queue, int slot, uint32_t type,
		  uint64_t sector, uint32_t len);
void front_kick(struct front_queue *queue);
/* What a device does at a request's end: the guest's memory says that it is over. */
void front_end(struct front_queue *queue, int slot, uint8_t status);
/* The next slot that is over, and its status; -1: there is none. */
int front_take(struct front_queue *queue, uint8_t *status);
/* Waits for one for at most so long; -1: none came. */
int front_wait(struct front_queue *queue, uint8_t *status, int timeout_ms);
/* One request from its beginning to its end: its status, or -1. */
int front_do(struct front *front, struct front_queue *queue, uint32_t type, uint64_t sector,
	     void *data, uint32_t len);

uint64_t front_now_ns(void);
/* Says what is wrong on stderr and ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void front_fail(const char *format, ...);

#endif
