/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Messages that bring memory: the guest's, the log of its changes, the region of
 * what is in flight. Before any memory goes, nothing is in flight. The new
 * memory is mapped before the old one goes, so that a refused message changes
 * nothing.
 */
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/vhost/mapping.h"
#include "tools/vhost/queue.h"
#include "tools/vhost/session_parts.h"

#define MAX_LOG (UINT64_C(1) << 36)

static void memory_place_all(struct vhost_session *s)
{
	for (unsigned i = 0; i < s->geometry->n_queues; i++)
		vhost_queue_place(s, &s->queues[i]);
}

static const char *memory_set_table(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_table_message *table = &call->message->payload.table;
	struct vhost_memory fresh = { .n = 0 };
	const char *why = NULL;

	for (unsigned i = 0; !why && i < table->n; i++)
		why = vhost_memory_add(&fresh, &table->regions[i], call->message->fds[i]);
	if (why) {
		vhost_memory_clear(&fresh);
		return why;
	}
	s->ops->drain(s->opaque, NULL);
	vhost_memory_clear(&s->memory);
	s->memory = fresh;
	memory_place_all(s);
	return NULL;
}

static const char *memory_add_region(struct vhost_session *s, struct vhost_call *call)
{
	const char *why = vhost_memory_add(&s->memory, &call->message->payload.single.region,
					   call->message->fds[0]);

	if (!why)
		memory_place_all(s);
	return why;
}

static const char *memory_remove_region(struct vhost_session *s, struct vhost_call *call)
{
	int i = vhost_memory_find(&s->memory, &call->message->payload.single.region);

	if (i < 0)
		return "there is no such region";
	s->ops->drain(s->opaque, NULL);
	vhost_memory_remove(&s->memory, i);
	memory_place_all(s);
	return NULL;
}

static const char *memory_max_slots(struct vhost_session *s, struct vhost_call *call)
{
	(void)s;
	vhost_answer_u64(call, VHOST_MAX_REGIONS);
	return NULL;
}

/* ---- the log ---- */

static const char *memory_set_log_base(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_log_message *m = &call->message->payload.log;
	const char *why;
	size_t map_len;
	void *map;
	uint8_t *log;

	if (!m->len || m->len > MAX_LOG || m->mmap_off > INT64_MAX - m->len)
		return "a log has no such length";
	log = vhost_map(call->message->fds[0], m->mmap_off, m->len, &map, &map_len, &why);
	if (!log)
		return why;
	vhost_unmap(s->log_map, s->log_map_len);
	s->log_map = map;
	s->log_map_len = map_len;
	s->log = log;
	s->log_len = m->len;
	vhost_answer_u64(call, 0);
	return NULL;
}

/* A descriptor to tell of changes; frontends poll the log. */
static const char *memory_set_log_fd(struct vhost_session *s, struct vhost_call *call)
{
	(void)s;
	(void)call;
	return NULL;
}

/* ---- what is in flight ---- */

static const char *memory_inflight_wrong(const struct vhost_session *s,
					 const struct vhost_inflight_message *m)
{
	if (!m->n_queues || m->n_queues > s->geometry->n_queues)
		return "there are not so many queues";
	if (!m->queue_size || m->queue_size > VRING_MAX_SIZE)
		return "a ring has no such size";
	return NULL;
}

static const char *memory_get_inflight(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_inflight_message *m = &call->message->payload.inflight;
	const char *why = memory_inflight_wrong(s, m);
	size_t len = inflight_len(m->n_queues, m->queue_size);

	if (why)
		return why;
	call->answer_fd = memfd_create("blockpull-inflight", MFD_CLOEXEC);
	if (call->answer_fd < 0 || ftruncate(call->answer_fd, len))
		return "there is no memory";
	call->answer.payload.inflight = (struct vhost_inflight_message){
		.mmap_len = len, .n_queues = m->n_queues, .queue_size = m->queue_size
	};
	/* Frontends count the padding or not. */
	call->answer.header.len = call->message->header.len;
	return NULL;
}

static void memory_open_inflight(struct vhost_session *s, struct vhost_queue *q)
{
	q->is_prepared = false;
	if (q->index < s->n_inflight_queues)
		inflight_open(&q->inflight, s->inflight, q->index, s->inflight_size);
	else
		q->inflight = (struct inflight){ .queue = NULL };
}

static const char *memory_set_inflight(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_inflight_message *m = &call->message->payload.inflight;
	const char *why = memory_inflight_wrong(s, m);
	size_t map_len;
	void *map, *region;

	if (why)
		return why;
	if (m->mmap_len < inflight_min_len(m->n_queues, m->queue_size) ||
	    m->mmap_off > INT64_MAX - m->mmap_len || m->mmap_off % 8)
		return "the in-flight region is too short";
	region = vhost_map(call->message->fds[0], m->mmap_off, m->mmap_len, &map, &map_len, &why);
	if (!region)
		return why;
	s->ops->drain(s->opaque, NULL);
	vhost_unmap(s->inflight_map, s->inflight_map_len);
	s->inflight_map = map;
	s->inflight_map_len = map_len;
	s->inflight = region;
	s->inflight_len = m->mmap_len;
	s->n_inflight_queues = m->n_queues;
	s->inflight_size = m->queue_size;
	for (unsigned i = 0; i < s->geometry->n_queues; i++)
		memory_open_inflight(s, &s->queues[i]);
	if (!inflight_load_cache(region, m->mmap_len, m->n_queues, m->queue_size, &s->write_back))
		inflight_save_cache(region, m->mmap_len, m->n_queues, m->queue_size, s->write_back);
	return NULL;
}

vhost_part *const vhost_memory_parts[VHOST_N_NUMBERS] = {
	[VHOST_SET_MEM_TABLE] = memory_set_table,
	[VHOST_ADD_MEM_REG] = memory_add_region,
	[VHOST_REM_MEM_REG] = memory_remove_region,
	[VHOST_GET_MAX_MEM_SLOTS] = memory_max_slots,
	[VHOST_SET_LOG_BASE] = memory_set_log_base,
	[VHOST_SET_LOG_FD] = memory_set_log_fd,
	[VHOST_GET_INFLIGHT_FD] = memory_get_inflight,
	[VHOST_SET_INFLIGHT_FD] = memory_set_inflight,
};
