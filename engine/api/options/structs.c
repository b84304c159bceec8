/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Option and result structs as programs built with any version pass them. One import function for
 * all structs: a shorter struct is filled up with zeros; in a longer one the part that this version
 * does not know must be zeros. One export function: a shorter struct gets what it has room for; the
 * rest of a longer one is zeroed. Versioned function names were rejected: they double with each
 * field.
 */
#include "engine/api/options/structs.h"

#include <stdint.h>
#include <string.h>

#include "io/base.h"

/* No option struct will be longer: a larger size is memory that the caller never set. */
#define STRUCT_MAX_LEN 4096

bool options_import(void *dst, size_t dst_len, const void *src)
{
	size_t src_len;

	memset(dst, 0, dst_len);
	if (!src)
		return true;
	memcpy(&src_len, src, sizeof(src_len));
	if (src_len < sizeof(src_len) || src_len > STRUCT_MAX_LEN)
		return false;
	for (size_t i = dst_len; i < src_len; i++)
		if (((const uint8_t *)src)[i])
			return false;
	memcpy(dst, src, MIN(src_len, dst_len));
	return true;
}

bool result_fits(const void *out, size_t first_len)
{
	size_t out_len;

	memcpy(&out_len, out, sizeof(out_len));
	return out_len >= first_len && out_len <= STRUCT_MAX_LEN;
}

void result_export(void *out, const void *src, size_t src_len)
{
	size_t out_len, at = sizeof(out_len);

	memcpy(&out_len, out, sizeof(out_len));
	memcpy((uint8_t *)out + at, (const uint8_t *)src + at, MIN(out_len, src_len) - at);
	if (out_len > src_len)
		memset((uint8_t *)out + src_len, 0, out_len - src_len);
}
