/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "guest_work.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REPORT 25u /* requests */

static uint8_t buffer[UNIT * BLOCK] __attribute__((aligned(4096)));

void fail(const char *what, uint32_t block)
{
	printf("FAIL: %s, block %u: %s\n", what, block, strerror(errno));
	fflush(stdout);
	_exit(1);
}

/* ---- contents ---- */

void fill(uint64_t seed, uint32_t block, uint32_t version, uint64_t *words)
{
	uint64_t word = (seed * 31 + block) * UINT64_C(0x9e3779b97f4a7c15) +
			version * UINT64_C(0xd1342543de82ef95);

	for (unsigned i = 0; i < BLOCK / 8; i++) {
		word = (word ^ word >> 29) * UINT64_C(0xbf58476d1ce4e5b9) + i;
		words[i] = version == ZEROS ? 0 : word;
	}
}

bool holds(uint64_t seed, uint32_t block, uint32_t version, const uint8_t *bytes)
{
	uint64_t wanted[BLOCK / 8];

	fill(seed, block, version, wanted);
	return !memcmp(bytes, wanted, BLOCK);
}

static void move(int fd, bool writes, uint32_t block, uint32_t n)
{
	size_t len = (size_t)n * BLOCK;
	off_t off = (off_t)block * BLOCK;
	ssize_t got = writes ? pwrite(fd, buffer, len, off) : pread(fd, buffer, len, off);

	if (got != (ssize_t)len)
		fail(writes ? "write" : "read", block);
}

void write_block(int fd, uint64_t seed, uint32_t block, uint32_t version)
{
	fill(seed, block, version, (uint64_t *)buffer);
	move(fd, true, block, 1);
}

bool has_block(int fd, uint64_t seed, uint32_t block, uint32_t version)
{
	move(fd, false, block, 1);
	return holds(seed, block, version, buffer);
}

/* ---- requests ---- */

static uint32_t draw(struct worker *w, uint32_t n)
{
	w->state ^= w->state << 13;
	w->state ^= w->state >> 7;
	w->state ^= w->state << 17;
	return (w->state >> 16) % n;
}

static void set_versions(struct worker *w, uint32_t at, uint32_t n, uint32_t version)
{
	for (uint32_t i = at; i < at + n; i++)
		w->versions[i] = version;
}

static void write_blocks(struct worker *w, uint32_t at, uint32_t n, uint32_t version)
{
	set_versions(w, at, n, version);
	if (w->way == WAY_NOTHING)
		return;
	for (uint32_t i = 0; i < n; i++)
		fill(w->seed, w->first + at + i, version, (uint64_t *)(buffer + i * BLOCK));
	move(w->fd, true, w->first + at, n);
}

static void check_blocks(struct worker *w, uint32_t at, uint32_t n)
{
	if (w->way != WAY_DISK)
		return;
	move(w->fd, false, w->first + at, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t block = w->first + at + i, version = w->versions[at + i];
		bool may_be_zero = version != ZEROS && version & EITHER;

		if (may_be_zero)
			version &= ~EITHER;
		errno = 0;
		if (!holds(w->seed, block, version, buffer + i * BLOCK) &&
		    !(may_be_zero && holds(w->seed, block, ZEROS, buffer + i * BLOCK)))
			fail("other bytes than were written", block);
	}
}

static void clear_blocks(struct worker *w, uint32_t at, uint32_t n, unsigned long request)
{
	uint64_t range[2] = { (uint64_t)(w->first + at) * BLOCK, (uint64_t)n * BLOCK };

	if (w->way == WAY_DISK && ioctl(w->fd, request, range))
		fail(request == BLKDISCARD ? "discard" : "zeroing", w->first + at);
	if (w->way == WAY_FILE) {
		memset(buffer, 0, (size_t)n * BLOCK);
		move(w->fd, true, w->first + at, n);
	}
}

static void discard_unit(struct worker *w, uint32_t at)
{
	clear_blocks(w, at, UNIT, BLKDISCARD);
	for (uint32_t i = at; i < at + UNIT; i++)
		if (w->versions[i] != ZEROS)
			w->versions[i] |= EITHER;
}

static void zero_blocks(struct worker *w, uint32_t at, uint32_t n)
{
	clear_blocks(w, at, n, BLKZEROOUT);
	set_versions(w, at, n, ZEROS);
}

static void flush(struct worker *w)
{
	if (w->way == WAY_DISK && fsync(w->fd))
		fail("flush", w->first);
}

static void request(struct worker *w, uint32_t version)
{
	uint32_t kind = draw(w, 16), n = 1 + draw(w, UNIT), at = draw(w, PART - UNIT - n + 1);

	switch (kind) {
	case 0:
	case 1:
	case 2:
	case 3: check_blocks(w, at, n); return;
	case 4: zero_blocks(w, at, n); return;
	case 5: discard_unit(w, at / UNIT * UNIT); return;
	case 6: flush(w); return;
	case 7:
	case 8: write_blocks(w, at, 1, version); return;
	default: write_blocks(w, at, n, version); return;
	}
}

/* What was discarded is zeroed, so that each byte is known; the last unit is discarded. */
static void settle(struct worker *w)
{
	for (uint32_t i = 0; i < PART; i++)
		if (w->versions[i] != ZEROS && w->versions[i] & EITHER)
			zero_blocks(w, i, 1);
	flush(w);
	for (uint32_t at = 0; at < PART; at += UNIT)
		check_blocks(w, at, UNIT);
	clear_blocks(w, PART - UNIT, UNIT, BLKDISCARD);
	set_versions(w, PART - UNIT, UNIT, ZEROS);
	flush(w);
}

/* ---- workers ---- */

void work(struct worker *w, unsigned n)
{
	write_blocks(w, PART - UNIT, UNIT, ++w->version);
	for (unsigned i = 0; i < n; i++) {
		request(w, ++w->version);
		if (w->way == WAY_DISK && i % REPORT == REPORT - 1) {
			printf("at %u\n", w->first / PART);
			fflush(stdout);
		}
	}
	settle(w);
}

void verify(struct worker *w, unsigned n, unsigned rounds)
{
	w->way = WAY_NOTHING;
	for (unsigned i = 0; i < rounds; i++)
		work(w, n);
	w->way = WAY_DISK;
	for (uint32_t at = 0; at < PART; at += UNIT) {
		check_blocks(w, at, UNIT);
		if (at % (UNIT * 16) == 0) {
			printf("verified %u\n", w->first / PART);
			fflush(stdout);
		}
	}
}

struct worker worker(int fd, enum way way, uint64_t seed, unsigned index)
{
	return (struct worker){ .fd = fd,
				.way = way,
				.seed = seed,
				.state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + index,
				.first = index * PART };
}
