/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Header, L1 table, refcount table, refcount blocks, L2 tables, and then a hole
 * for the data: one behind the other, in clusters of 64 KiB. The library's own
 * calls were not used: they would write the data.
 */
#include "bench/rig/big_tables.h"

#include <endian.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/rig/complain.h"

#define CLUSTER_LEN UINT64_C(65536)
#define L2_ENTRIES  (CLUSTER_LEN / 8)
#define L2_SPAN     (L2_ENTRIES * CLUSTER_LEN) /* of the guest's disk */
#define PER_BLOCK   (CLUSTER_LEN / 2)          /* refcounts of 16 bits */
#define COPIED      (UINT64_C(1) << 63)

/* In clusters. */
struct layout {
	uint64_t n_l2, n_l1, n_blocks, n_reftable;
	uint64_t l1, reftable, blocks, l2, data, end;
};

static uint64_t big_tables_div_up(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

static struct layout big_tables_lay_out(uint64_t len)
{
	struct layout at = { .n_l2 = big_tables_div_up(len, L2_SPAN), .n_blocks = 1, .l1 = 1 };
	uint64_t n_before;

	at.n_l1 = big_tables_div_up(at.n_l2, L2_ENTRIES);
	/* The blocks count themselves: more of them may need one more. */
	do {
		at.n_reftable = big_tables_div_up(at.n_blocks, L2_ENTRIES);
		at.reftable = at.l1 + at.n_l1;
		at.blocks = at.reftable + at.n_reftable;
		at.l2 = at.blocks + at.n_blocks;
		at.data = at.l2 + at.n_l2;
		at.end = at.data + at.n_l2 * L2_ENTRIES;
		n_before = at.n_blocks;
		at.n_blocks = big_tables_div_up(at.end, PER_BLOCK);
	} while (at.n_blocks != n_before);
	return at;
}

static bool big_tables_put(int fd, const void *bytes, size_t len, uint64_t at)
{
	return pwrite(fd, bytes, len, (off_t)at) == (ssize_t)len;
}

static bool big_tables_put_header(int fd, const struct layout *at, const char *backing)
{
	struct {
		uint32_t magic, version;
		uint64_t backing_off;
		uint32_t backing_len, cluster_bits;
		uint64_t size;
		uint32_t crypt, l1_size;
		uint64_t l1_off, reftable_off;
		uint32_t reftable_clusters, n_snapshots;
		uint64_t snapshots_off, incompat, compat, autoclear;
		uint32_t refcount_order, header_len;
		uint64_t compression; /* zlib */
		uint32_t format_type, format_len;
		char format[8];
		uint64_t end;
		char backing[64];
	} h = {
		.magic = htobe32(0x514649fb),
		.version = htobe32(3),
		.cluster_bits = htobe32(16),
		.size = htobe64(at->n_l2 * L2_SPAN),
		.l1_size = htobe32((uint32_t)at->n_l2),
		.l1_off = htobe64(at->l1 * CLUSTER_LEN),
		.reftable_off = htobe64(at->reftable * CLUSTER_LEN),
		.reftable_clusters = htobe32((uint32_t)at->n_reftable),
		.refcount_order = htobe32(4),
		.header_len = htobe32(112),
		.format_type = htobe32(0xe2792aca),
		.format_len = htobe32(3),
		.format = "raw",
	};

	_Static_assert(offsetof(typeof(h), format_type) == 112, "behind version 3's header");
	if (backing) {
		h.backing_off = htobe64(offsetof(typeof(h), backing));
		h.backing_len = htobe32((uint32_t)strlen(backing));
		snprintf(h.backing, sizeof(h.backing), "%s", backing);
	}
	return big_tables_put(fd, &h, sizeof(h), 0);
}

/* n entries that lead to clusters behind each other. */
static bool big_tables_put_entries(int fd, uint64_t at, uint64_t n, uint64_t first, uint64_t flags)
{
	uint64_t entries[L2_ENTRIES];

	for (uint64_t done = 0; done < n; done += L2_ENTRIES) {
		uint64_t some = n - done < L2_ENTRIES ? n - done : L2_ENTRIES;

		for (uint64_t i = 0; i < some; i++)
			entries[i] = htobe64((first + done + i) * CLUSTER_LEN | flags);
		if (!big_tables_put(fd, entries, some * 8, at + done * 8))
			return false;
	}
	return true;
}

static bool big_tables_put_refcounts(int fd, const struct layout *at)
{
	uint16_t counts[PER_BLOCK];

	for (uint64_t block = 0; block < at->n_blocks; block++) {
		for (uint64_t i = 0; i < PER_BLOCK; i++)
			counts[i] = htobe16(block * PER_BLOCK + i < at->end);
		if (!big_tables_put(fd, counts, sizeof(counts), (at->blocks + block) * CLUSTER_LEN))
			return false;
	}
	return true;
}

int big_tables_make(const char *name, uint64_t len, const char *backing)
{
	const struct layout at = big_tables_lay_out(len);
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), code = 0;

	if (fd < 0)
		return complain_system(name);
	if (ftruncate(fd, (off_t)(at.end * CLUSTER_LEN)) ||
	    !big_tables_put_header(fd, &at, backing) ||
	    !big_tables_put_entries(fd, at.l1 * CLUSTER_LEN, at.n_l2, at.l2, COPIED) ||
	    !big_tables_put_entries(fd, at.reftable * CLUSTER_LEN, at.n_blocks, at.blocks, 0) ||
	    !big_tables_put_refcounts(fd, &at) ||
	    !big_tables_put_entries(fd, at.l2 * CLUSTER_LEN, at.n_l2 * L2_ENTRIES, at.data, COPIED))
		code = complain_system(name);
	close(fd);
	return code;
}

uint64_t big_tables_len(uint64_t len)
{
	return big_tables_lay_out(len).data * CLUSTER_LEN;
}
