/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Transfer buffers: equal, page-aligned slots cut from one mapping, whose size is the byte budget.
 * A caller that gets none waits for one to come back, which is what bounds the memory of a copy.
 * One that turns out to need little shares a slot with others: many small copies in flight hide
 * what each waits for. malloc per run was rejected: it neither bounds nor can be registered with
 * the ring once.
 */
#ifndef BLOCKPULL_BUF_H
#define BLOCKPULL_BUF_H

#include <stddef.h>

struct buf_pool;

/* budget is rounded down to whole slots, at least one. NULL: out of memory. */
struct buf_pool *buf_pool_new(size_t slot_len, size_t budget);
void buf_pool_free(struct buf_pool *pool); /* every slot must be back */
void *buf_get(struct buf_pool *pool);      /* slot_len bytes, content undefined; NULL: none left */
/* Trades a whole slot, whose content does not count yet, for a sixteenth of one if len bytes fit.
 * Returns the buffer to use and to put back, which may be the same. */
void *buf_shrink(struct buf_pool *pool, void *buf, size_t len);
void buf_put(struct buf_pool *pool, void *buf); /* NULL is allowed */
/* Bytes of a buffer that was got, and perhaps shrunk. */
size_t buf_len(const struct buf_pool *pool, const void *buf);
size_t buf_slot_len(const struct buf_pool *pool);
size_t buf_n_free(const struct buf_pool *pool); /* whole slots */
size_t buf_n_slots(const struct buf_pool *pool);
/* The whole mapping, for io_ops.use_memory. */
void *buf_pool_base(const struct buf_pool *pool, size_t *len);

#endif
