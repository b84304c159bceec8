/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/backends/ended.h"

#include "io/wake.h"

void ended_init(struct ended *e, pthread_mutex_t *lock, int wake_fd)
{
	*e = (struct ended){ .lock = lock, .wake_fd = wake_fd };
}

void ended_add(struct ended *e, struct io_req *req)
{
	bool is_first = !e->list.first;

	req_list_push(&e->list, req);
	atomic_store(&e->has_any, true);
	if (is_first && !e->quiet)
		wake_signal(e->wake_fd);
}

void ended_set_notify(struct ended *e, bool on)
{
	pthread_mutex_lock(e->lock);
	if (on && e->quiet && e->list.first)
		wake_signal(e->wake_fd);
	e->quiet = !on;
	pthread_mutex_unlock(e->lock);
}

unsigned ended_take(struct ended *e, struct io_req **out, unsigned max)
{
	unsigned n;

	/* Most calls find nothing. A request that ends just after this look signals wake_fd. */
	if (!atomic_load(&e->has_any))
		return 0;
	pthread_mutex_lock(e->lock);
	n = req_list_take(&e->list, out, max);
	atomic_store(&e->has_any, e->list.first != NULL);
	pthread_mutex_unlock(e->lock);
	return n;
}
