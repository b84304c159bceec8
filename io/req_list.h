/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A queue of requests through req->next, for the backends: a request is on one
 * list at a time, so nothing is ever allocated to hold one. A ring of pointers
 * was rejected: it is full one day, and a submission cannot fail.
 */
#ifndef BLOCKPULL_REQ_LIST_H
#define BLOCKPULL_REQ_LIST_H

#include "io/fifo.h"
#include "io/req.h"

struct req_list {
	struct io_req *first, *last;
	unsigned n;
};

static inline void req_list_push(struct req_list *list, struct io_req *req)
{
	FIFO_APPEND(list, req, next);
	list->n++;
}

static inline struct io_req *req_list_pop(struct req_list *list)
{
	struct io_req *req = FIFO_TAKE(list, next);

	if (req)
		list->n--;
	return req;
}

/* Takes out a request that is on the list. */
static inline void req_list_remove(struct req_list *list, struct io_req *req)
{
	FIFO_REMOVE(list, req, next);
	list->n--;
}

/* Appends all of `from`, which is empty afterwards. */
static inline void req_list_move(struct req_list *to, struct req_list *from)
{
	if (!from->first)
		return;
	if (to->first)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	to->n += from->n;
	*from = (struct req_list){ 0 };
}

/* Up to max of them into out. */
static inline unsigned req_list_take(struct req_list *list, struct io_req **out, unsigned max)
{
	unsigned n = 0;
	while (n < max && list->first)
		out[n++] = req_list_pop(list);
	return n;
}

#endif
