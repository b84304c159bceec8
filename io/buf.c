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

struct buf_pool {
	char *base;
	size_t slot_len;
	size_t n_slots;
	size_t n_free;
	size_t *free_idx; /* the first n_free are free */
	bool *taken;      /* one a slot: a buffer put twice would be given out twice */
};

/* Of a processor with pages of 4 KiB; elsewhere the hint does less. */
#define HUGE_PAGE_LEN ((size_t)2 << 20)

/* On huge pages where they may be had: all of it is pinned for the ring at once, and thousands of small
 * pages are milliseconds. */
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
	return base;
}

struct buf_pool *buf_pool_new(size_t slot_len, size_t budget)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (!slot_len || slot_len > SIZE_MAX / 2)
		return NULL;
	slot_len = round_up(slot_len, page);
	struct buf_pool *pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->slot_len = slot_len;
	pool->n_slots = MAX(budget / slot_len, (size_t)1);
	pool->n_free = pool->n_slots;
	pool->free_idx = calloc(pool->n_slots, sizeof(*pool->free_idx));
	pool->taken = calloc(pool->n_slots, sizeof(*pool->taken));
	pool->base = map_memory(pool->n_slots * slot_len);
	if (!pool->base || !pool->free_idx || !pool->taken) {
		if (pool->base)
			munmap(pool->base, pool->n_slots * slot_len);
		free(pool->free_idx);
		free(pool->taken);
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
	free(pool);
}

void *buf_get(struct buf_pool *pool)
{
	if (!pool->n_free)
		return NULL;
	size_t idx = pool->free_idx[--pool->n_free];
	char *buf = pool->base + idx * pool->slot_len;
	pool->taken[idx] = true;
	BUF_SHOW(buf, pool->slot_len);
	return buf;
}

void buf_put(struct buf_pool *pool, void *buf)
{
	if (!buf)
		return;
	size_t at = (size_t)((char *)buf - pool->base);
	size_t idx = at / pool->slot_len;
	assert((char *)buf >= pool->base && idx < pool->n_slots && at % pool->slot_len == 0);
	assert(pool->taken[idx]);
	pool->taken[idx] = false;
	BUF_HIDE(buf, pool->slot_len);
	pool->free_idx[pool->n_free++] = idx;
}

size_t buf_slot_len(const struct buf_pool *pool)
{
	return pool->slot_len;
}

size_t buf_n_free(const struct buf_pool *pool)
{
	return pool->n_free;
}

void *buf_pool_base(const struct buf_pool *pool, size_t *len)
{
	*len = pool->n_slots * pool->slot_len;
	return pool->base;
}
