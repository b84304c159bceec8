/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The few things every layer needs: byte order, checked arithmetic, alignment
 * and scoped cleanup. Everything here is inline and free of state; anything
 * with a life of its own gets a file of its own.
 *
 * The standard bswap/htobe family was not used for disk fields because those
 * lie at any alignment: the accessors take a pointer to bytes.
 */
#ifndef BLOCKPULL_BASE_H
#define BLOCKPULL_BASE_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Both operands are evaluated once; the types must agree. */
#define MIN(a, b)                              \
	({                                     \
		__typeof__(a) min_a = (a);     \
		__typeof__(b) min_b = (b);     \
		min_a < min_b ? min_a : min_b; \
	})
#define MAX(a, b)                              \
	({                                     \
		__typeof__(a) max_a = (a);     \
		__typeof__(b) max_b = (b);     \
		max_a > max_b ? max_a : max_b; \
	})

/* Frees a local on every way out; hand the value over with STEAL(). */
static inline void autofree_cleanup(void *pointer)
{
	free(*(void **)pointer);
}
#define autofree __attribute__((cleanup(autofree_cleanup)))
#define STEAL(p)                            \
	({                                  \
		__typeof__(p) stolen = (p); \
		(p) = NULL;                 \
		stolen;                     \
	})

/* Makes room for `more` items behind the first n of an array that grows (*array points to it, *cap
 * is its size in items). 0, or -ENOMEM with everything as it was. */
static inline int array_reserve(void *array, size_t n, size_t more, size_t *cap, size_t item_len)
{
	void **items = (void **)array;
	size_t larger = MAX(2 * *cap, (size_t)8);
	void *grown;

	if (*cap - n >= more)
		return 0;
	larger = MAX(larger, n + more);
	grown = reallocarray(*items, larger, item_len);
	if (!grown)
		return -ENOMEM;
	*items = grown;
	*cap = larger;
	return 0;
}

static inline uint16_t be16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

static inline uint32_t be32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline uint64_t be64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static inline void put_be16(void *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_be32(void *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_be64(void *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint32_t le32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t le64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void put_le32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* Checked arithmetic: true means the result did not fit and *sum is unusable. */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
	return __builtin_add_overflow(a, b, sum);
}

static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
	return __builtin_mul_overflow(a, b, product);
}

static inline bool is_power_of_2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* `unit` is a power of two for the three below. round_up() wraps to 0 past 2^64 - unit. */
static inline bool is_aligned(uint64_t v, uint64_t unit)
{
	return !(v & (unit - 1));
}

static inline uint64_t round_down(uint64_t v, uint64_t unit)
{
	return v & ~(unit - 1);
}

static inline uint64_t round_up(uint64_t v, uint64_t unit)
{
	return round_down(v + unit - 1, unit);
}

static inline uint64_t div_round_up(uint64_t v, uint64_t unit)
{
	return v / unit + !!(v % unit);
}

#endif
