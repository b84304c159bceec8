/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How many guest requests run at once: as many as fit into the guests' share of the
 * engine's memory, over all disks, first come, first served. A request that waits costs
 * its descriptor and its vector only. Refusing it was rejected: then each program would
 * have to keep such a queue.
 *
 * A request takes room once, for all that it may need. Taking it buffer by buffer was
 * rejected: requests that hold one buffer and wait for the next would wait for each other.
 */
#include "engine/guest/admit.h"

#include <stdlib.h>

#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/guest/request.h"
#include "io/base.h"
#include "io/fifo.h"

/* Bytes: what the structs of any request take; what a read holds of compressed clusters at a
 * time. */
#define DESCRIPTORS_LEN (4 * KiB)
#define READ_LEN        (256 * KiB)

/* A write that begins or ends inside a cluster may have to read that cluster whole. */
static uint64_t write_cost(const struct guest *g)
{
	uint32_t cluster_len = g->overlay->cluster_len;
	uint64_t cost = 0;

	if (!is_aligned(g->guest_off, cluster_len))
		cost += cluster_len;
	if (!is_aligned(g->guest_off + g->len, cluster_len))
		cost += cluster_len;
	return cost;
}

static uint64_t cost_of(const struct guest *g)
{
	switch (g->kind) {
	case GUEST_READ: return DESCRIPTORS_LEN + MIN(g->len, (uint64_t)READ_LEN);
	case GUEST_WRITE:
	case GUEST_ZEROES: return DESCRIPTORS_LEN + write_cost(g);
	case GUEST_GROW_DISK: return DESCRIPTORS_LEN + 2 * g->overlay->cluster_len;
	case GUEST_DISCARD:
	case GUEST_FLUSH:
	case GUEST_STATUS: return DESCRIPTORS_LEN;
	}
	abort();
}

/* When no other request runs, this one gets room whatever it costs. */
static bool take_room(struct bpull_engine *engine, struct guest *g)
{
	uint64_t cost = cost_of(g);

	if (engine->guests.cost && engine->guests.cost + cost > engine->guests.cost_limit)
		return false;
	g->room.cost = cost;
	engine->guests.cost += cost;
	return true;
}

void guest_admit(struct guest *g)
{
	struct bpull_engine *engine = g->op.engine;

	if (g->op.error || g->waits.op || (!engine->guests.waiting.first && take_room(engine, g))) {
		op_ready(&g->op);
		return;
	}
	FIFO_APPEND(&engine->guests.waiting, g, room.next);
}

void guest_give_room(struct guest *g)
{
	struct bpull_engine *engine = g->op.engine;

	engine->guests.cost -= g->room.cost;
	g->room.cost = 0;
	while (engine->guests.waiting.first && take_room(engine, engine->guests.waiting.first))
		op_ready(&FIFO_TAKE(&engine->guests.waiting, room.next)->op);
}
