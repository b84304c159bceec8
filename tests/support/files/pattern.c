/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See pattern.h. */
#include "tests/support/files/pattern.h"

#include <string.h>

void pattern_words(void *buf, size_t len, uint64_t off)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = (off + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;

		memcpy((char *)buf + i, &word, 8);
	}
}

void pattern_steps(uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + i / 1000 + 1);
}
