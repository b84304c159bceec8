/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Queues, first in, first out, of items that hold the link to the next one themselves: joining one
 * needs no memory and can't fail. A queue is a struct with `first` and `last` (NULL: it is empty);
 * `link` names the member of its items, which is in one queue at a time. Macros, so that each
 * queue has its items' type.
 */
#ifndef BLOCKPULL_FIFO_H
#define BLOCKPULL_FIFO_H

#include <assert.h>
#include <stddef.h>

#define FIFO_APPEND(fifo, item, link)                         \
	({                                                    \
		typeof(fifo) fifo_append_ = (fifo);           \
		typeof(fifo_append_->first) append_ = (item); \
		append_->link = NULL;                         \
		if (fifo_append_->last)                       \
			fifo_append_->last->link = append_;   \
		else                                          \
			fifo_append_->first = append_;        \
		fifo_append_->last = append_;                 \
	})

/* The first item, which is in the queue no more, or NULL. */
#define FIFO_TAKE(fifo, link)                                        \
	({                                                           \
		typeof(fifo) fifo_take_ = (fifo);                    \
		typeof(fifo_take_->first) take_ = fifo_take_->first; \
		if (take_) {                                         \
			fifo_take_->first = take_->link;             \
			if (!take_->link)                            \
				fifo_take_->last = NULL;             \
			take_->link = NULL;                          \
		}                                                    \
		take_;                                               \
	})

/* Takes out an item that is in the queue. Walks to it. */
#define FIFO_REMOVE(fifo, item, link)                                                              \
	({                                                                                         \
		typeof(fifo) fifo_remove_ = (fifo);                                                \
		typeof(fifo_remove_->first) remove_ = (item), before_ = NULL;                      \
		for (typeof(remove_) at_ = fifo_remove_->first; at_ != remove_; at_ = at_->link) { \
			assert(at_);                                                               \
			before_ = at_;                                                             \
		}                                                                                  \
		*(before_ ? &before_->link : &fifo_remove_->first) = remove_->link;                \
		if (fifo_remove_->last == remove_)                                                 \
			fifo_remove_->last = before_;                                              \
		remove_->link = NULL;                                                              \
	})

#endif
