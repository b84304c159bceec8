/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Slots of one mapping behind a stack of free indices: the slot given back
 * last is the warmest, so it is handed out first. The memory is touched only
 * when used. One owner thread, no lock. A list threaded through the free slots
 * would save the array, but would touch every page at start and be overwritten
 * by the first stray read completion.
 */
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/base.h"
#include "io/buf.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define BUF_HIDE(p, len) __asan_poison_memory_region(p, len)
#define BUF_SHOW(p, len) __asan_unpoison_memory_region(p, len)
#else
#define BUF_HIDE(p, len) ((void)(p), (void)(len))
#define BUF_SHOW(p, len) ((void)(p), (void)(len))
#endif

#define BUF_PIECES 16

struct buf_pool {
	char *base;
	size_t piece_len; /* 0: slots are too small to be shared */
	size_t slot_len;
	size_t n_slots;
	size_t n_free;
	size_t *free_idx; /* the first n_free are free */
	/* One a slot: bit i is set while its piece i is taken; 0: it is not shared. */
	uint16_t *pieces;
	bool *taken; /* one a slot: a buffer put twice would be given out twice */
};

/* That of a processor with pages of 4 KiB; on others MADV_HUGEPAGE does less. */
#define HUGE_PAGE_LEN ((size_t)2 << 20)

/* On huge pages where they may be had: all of it is pinned for the ring at once, and thousands of
 * small pages are milliseconds. */
static char *map_memory(size_t len)
{
	char *map = mmap(NULL, len + HUGE_PAGE_LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *base;

	if (map == MAP_FAILED)
		return NULL;
	base = (char *)round_up((uintptr_t)map, HUGE_PAGE_LEN);
	if (base > map)
		munmap(map, (size_t)(base - map));
	munmap(base + len, (size_t)(map + HUGE_PAGE_LEN - base));
	madvise(base, len, MADV_HUGEPAGE); /* a hint */
	/* A child of fork() would share the pages: what a direct read brings may be the child's
	 * then, and the parent is left with what was there before (open(2), O_DIRECT). */
	madvise(base, len, MADV_DONTFORK);
	return base;
}

struct buf_pool *buf_pool_new(size_t slot_len, size_t budget)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct buf_pool *pool;

	if (!slot_len || slot_len > SIZE_MAX / 2)
		return NULL;
	slot_len = round_up(slot_len, page);
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->slot_len = slot_len;
	pool->n_slots = MAX(budget / slot_len, (size_t)1);
	pool->n_free = pool->n_slots;
	pool->free_idx = calloc(pool->n_slots, sizeof(*pool->free_idx));
	pool->taken = calloc(pool->n_slots, sizeof(*pool->taken));
	pool->pieces = calloc(pool->n_slots, sizeof(*pool->pieces));
	pool->piece_len = slot_len % (BUF_PIECES * page) ? 0 : slot_len / BUF_PIECES;
	pool->base = map_memory(pool->n_slots * slot_len);
	if (!pool->base || !pool->free_idx || !pool->taken || !pool->pieces) {
		if (pool->base)
			munmap(pool->base, pool->n_slots * slot_len);
		free(pool->free_idx);
		free(pool->taken);
		free(pool->pieces);
		free(pool);
		return NULL;
	}
	for (size_t i = 0; i < pool->n_slots; i++)
		pool->free_idx[i] = pool->n_slots - 1 - i;
	BUF_HIDE(pool->base, pool->n_slots * slot_len);
	return pool;
}

void buf_pool_free(struct buf_pool *pool)
{
	if (!pool)
		return;
	assert(pool->n_free == pool->n_slots);
	BUF_SHOW(pool->base, pool->n_slots * pool->slot_len);
	munmap(pool->base, pool->n_slots * pool->slot_len);
	free(pool->free_idx);
	free(pool->taken);
	free(pool->pieces);
	free(pool);
}

void *buf_get(struct buf_pool *pool)
{
	size_t idx;
	char *buf;

	if (!pool->n_free)
		return NULL;
	idx = pool->free_idx[--pool->n_free];
	buf = pool->base + idx * pool->slot_len;
	pool->taken[idx] = true;
	BUF_SHOW(buf, pool->slot_len);
	return buf;
}

static size_t slot_of(const struct buf_pool *pool, const void *buf, size_t *at)
{
	size_t off = (size_t)((const char *)buf - pool->base);
	size_t idx = off / pool->slot_len;
	assert((const char *)buf >= pool->base && idx < pool->n_slots);
	*at = off % pool->slot_len;
	return idx;
}

void *buf_shrink(struct buf_pool *pool, void *buf, size_t len)
{
	size_t at, own = slot_of(pool, buf, &at), idx = own;
	unsigned piece;
	char *small;

	if (len > pool->piece_len || pool->pieces[own])
		return buf;
	assert(!at && pool->taken[own]);
	for (size_t i = 0; idx == own && i < pool->n_slots; i++)
		if (pool->pieces[i] && pool->pieces[i] != UINT16_MAX)
			idx = i;
	if (idx != own)
		buf_put(pool, buf);
	else
		BUF_HIDE(buf, pool->slot_len);
	piece = (unsigned)__builtin_ctz(~(unsigned)pool->pieces[idx]);
	small = pool->base + idx * pool->slot_len + piece * pool->piece_len;
	pool->pieces[idx] |= (uint16_t)(1u << piece);
	BUF_SHOW(small, pool->piece_len);
	return small;
}

/* Gives a piece back. True: other pieces of its slot are in use. */
static bool put_piece(struct buf_pool *pool, size_t idx, size_t at)
{
	uint16_t bit = (uint16_t)(1u << at / pool->piece_len);
	assert(at % pool->piece_len == 0 && pool->pieces[idx] & bit);
	pool->pieces[idx] &= (uint16_t)~bit;
	BUF_HIDE(pool->base + idx * pool->slot_len + at, pool->piece_len);
	return pool->pieces[idx];
}

void buf_put(struct buf_pool *pool, void *buf)
{
	bool is_shared;
	size_t at, idx;

	if (!buf)
		return;
	idx = slot_of(pool, buf, &at);
	is_shared = pool->pieces[idx];
	assert(pool->taken[idx] && (is_shared || !at));
	if (is_shared && put_piece(pool, idx, at))
		return;
	pool->taken[idx] = false;
	BUF_HIDE(pool->base + idx * pool->slot_len, pool->slot_len);
	pool->free_idx[pool->n_free++] = idx;
}

size_t buf_len(const struct buf_pool *pool, const void *buf)
{
	size_t at;

	return pool->pieces[slot_of(pool, buf, &at)] ? pool->piece_len : pool->slot_len;
}

size_t buf_slot_len(const struct buf_pool *pool)
{
	return pool->slot_len;
}

size_t buf_n_free(const struct buf_pool *pool)
{
	return pool->n_free;
}

size_t buf_n_slots(const struct buf_pool *pool)
{
	return pool->n_slots;
}

void *buf_pool_base(const struct buf_pool *pool, size_t *len)
{
	*len = pool->n_slots * pool->slot_len;
	return pool->base;
}
