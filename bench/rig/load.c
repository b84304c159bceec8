/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Places are drawn without libc's random(): it takes a lock, and what is drawn
 * must be the same on every machine. Files of requests (fio's) were rejected: a
 * benchmark whose load is in the program can't be run with another by mistake.
 */
#include "bench/rig/load.h"

#include <errno.h>
#include <stdlib.h>

int load_is_over(const struct load *load)
{
	return load->kind == LOAD_ALLOC && load->state >= load->alloc_len / load->cluster_size;
}

uint64_t load_next(struct load *load)
{
	if (load->kind == LOAD_ALLOC) {
		uint64_t n = load->area_len / load->cluster_size;

		if (load_is_over(load))
			return LOAD_END;
		/* An odd factor reaches every one of 2^k clusters once; area_len is made so. */
		return load->state++ * UINT64_C(0x9e3779b1) % n * load->cluster_size;
	}
	load->state ^= load->state << 13;
	load->state ^= load->state >> 7;
	load->state ^= load->state << 17;
	return (load->state >> 11) % (load->area_len / LOAD_LEN) * LOAD_LEN;
}

int load_buffers(struct load *load)
{
	size_t len = (size_t)load->depth * LOAD_LEN;

	load->bufs = aligned_alloc(LOAD_LEN, len);
	if (!load->bufs)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		load->bufs[i] = (uint8_t)(i * 7 + 1);
	return 0;
}
