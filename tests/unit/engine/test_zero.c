/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Promise of engine/core/ranges/zero.c: one bit anywhere is found, at every length asked for. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "engine/core/ranges/zero.h"
#include "io/base.h"

Test(zero, every_single_bit_is_found)
{
	static const size_t lens[] = { 64, 512, 576, 1024, 4096, 65536 };

	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		autofree uint8_t *buf = calloc(1, lens[i]);

		cr_assert(zero_is(buf, lens[i]));
		for (size_t at = 0; at < lens[i]; at++) {
			buf[at] = 1u << (at % 8);
			cr_assert_not(zero_is(buf, lens[i]), "byte %zu of %zu", at, lens[i]);
			buf[at] = 0;
		}
	}
}

Test(zero, what_lies_behind_does_not_matter)
{
	uint8_t buf[1024 + 64] = { 0 };

	memset(buf + 512, 0xff, sizeof(buf) - 512);
	cr_assert(zero_is(buf, 512));
	cr_assert_not(zero_is(buf, 576));
}
