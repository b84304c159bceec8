/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Unsorted, since it is short; see gaps.h for what it is. */
#include "formats/core/gaps.h"

#include "io/base.h"

void gaps_add(struct gaps *gaps, uint64_t host_off, uint64_t len)
{
	for (unsigned i = 0; i < gaps->n; i++) {
		struct gap *gap = &gaps->list[i];

		if (gap->host_off + gap->len != host_off && host_off + len != gap->host_off)
			continue;
		host_off = MIN(host_off, gap->host_off);
		len += gap->len;
		*gap = gaps->list[--gaps->n];
		i = -1u; /* the longer gap may touch another one */
	}
	if (gaps->n < GAPS_MAX)
		gaps->list[gaps->n++] = (struct gap){ host_off, len };
}

bool gaps_take(struct gaps *gaps, uint64_t len, uint64_t *host_off, uint64_t *got)
{
	struct gap *gap;

	if (!gaps->n)
		return false;
	gap = &gaps->list[gaps->n - 1];
	*host_off = gap->host_off;
	*got = MIN(len, gap->len);
	gap->host_off += *got;
	gap->len -= *got;
	if (!gap->len)
		gaps->n--;
	return true;
}

uint64_t gaps_absorb(struct gaps *gaps, uint64_t end)
{
	for (unsigned i = 0; i < gaps->n; i++)
		if (gaps->list[i].host_off + gaps->list[i].len == end) {
			end = gaps->list[i].host_off;
			gaps->list[i] = gaps->list[--gaps->n];
			break;
		}
	return end;
}
