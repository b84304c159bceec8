/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A product of two 64-bit numbers divided by a third, without loss in between.
 *
 * 32-bit machines have no 128-bit type, so the product is held in two halves on
 * every machine: one way of counting, tested everywhere. No user of it is in a
 * loop over bytes.
 */
#ifndef BLOCKPULL_SCALE_H
#define BLOCKPULL_SCALE_H

#include <stdint.h>

struct scale_wide {
	uint64_t high;
	uint64_t low;
};

static inline struct scale_wide scale_product(uint64_t a, uint64_t b)
{
	uint64_t a_low = (uint32_t)a, a_high = a >> 32;
	uint64_t b_low = (uint32_t)b, b_high = b >> 32;
	uint64_t low = a_low * b_low;
	uint64_t mid = a_high * b_low + (low >> 32);
	uint64_t mid_2 = a_low * b_high + (uint32_t)mid;

	return (struct scale_wide){ .high = a_high * b_high + (mid >> 32) + (mid_2 >> 32),
				    .low = mid_2 << 32 | (uint32_t)low };
}

/* Divides by shifting in one bit after the other. The caller has found high < divisor, so that the
 * result fits into 64 bits. */
static inline uint64_t scale_divide(struct scale_wide n, uint64_t divisor, uint64_t *rest)
{
	uint64_t quotient = 0;

	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t carry = n.high >> 63;

		n.high = n.high << 1 | n.low >> 63;
		n.low <<= 1;
		quotient <<= 1;
		if (carry || n.high >= divisor) {
			n.high -= divisor;
			quotient |= 1;
		}
	}
	*rest = n.high;
	return quotient;
}

/*
 * (a * b + more) / divisor, rounded down; *rest (not NULL) becomes what is left over. A result
 * that exceeds 64 bits is UINT64_MAX, with a rest of 0. The divisor is not 0.
 */
static inline uint64_t scale(uint64_t a, uint64_t b, uint64_t more, uint64_t divisor,
			     uint64_t *rest)
{
	struct scale_wide n = scale_product(a, b);

	n.high += __builtin_add_overflow(n.low, more, &n.low);
	if (n.high >= divisor) {
		*rest = 0;
		return UINT64_MAX;
	}
	if (n.high)
		return scale_divide(n, divisor, rest);
	*rest = n.low % divisor;
	return n.low / divisor;
}

#endif
