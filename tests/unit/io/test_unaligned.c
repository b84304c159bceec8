/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Direct I/O of any size, place and memory: neighbours that share a block are
 * written at once, and what is read back is what an array says.
 */
#include "io/file/opener.h"
#include "io/unaligned.h"
#include "tests/support/rigs/backend.h"

#define GRID    4096u
#define LEN     (256u << 10)
#define N_MAX   64u
#define PIECE   (16u << 10)
#define SECTOR  512u
#define N_TURNS 30u

static uint8_t want[LEN];
/* For each request a buffer, unaligned from behind its first bytes on. */
static uint8_t bufs[N_MAX][PIECE + 2 * GRID] __attribute__((aligned(GRID)));

static struct file *open_direct(struct backend *b, const char *name)
{
	struct file *file = backend_file(b, name, want, LEN, true);
	struct file_open how = { .name = file->name, .write = true, .direct = true };
	struct err err = { 0 };
	struct file *direct;

	if (b->sim) {
		file->io_align = GRID;
		return file;
	}
	cr_assert_eq(b->opener->open(b->opener, &how, &direct, &err), 0, "%s", err.message);
	file_close(file);
	if (direct->io_align == 1)
		cr_log_info("no direct I/O here");
	else
		direct->io_align = GRID; /* coarser than it must be */
	return direct;
}

static uint8_t *memory(struct backend *b, unsigned i)
{
	return bufs[i] + (backend_below(b, 2) ? backend_below(b, GRID) : 0);
}

static void fill(struct backend *b, uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)backend_below(b, 256);
}

/* All of the file, in pieces of whole sectors that are in flight together. */
static void write_all(struct backend *b, struct file *file)
{
	static struct io_req reqs[N_MAX];
	uint32_t off = 0;
	unsigned n = 0;

	for (; off < LEN && n < N_MAX; n++) {
		uint32_t len = SECTOR * (1 + (uint32_t)backend_below(b, PIECE / SECTOR));
		uint8_t *bytes = memory(b, n);

		if (backend_below(b, 2)) /* often just a block */
			len = GRID;
		len = MIN(len, LEN - off);
		fill(b, bytes, len);
		memcpy(want + off, bytes, len);
		reqs[n] = (struct io_req){ .owner = b };
		io_req_write(&reqs[n], file, bytes, len, off);
		off += len;
	}
	backend_run(b, reqs, n);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(reqs[i].result, (int64_t)reqs[i].len);
}

static void read_some(struct backend *b, struct file *file)
{
	static struct io_req reqs[N_MAX];
	static struct iovec iov[N_MAX][2];

	for (unsigned i = 0; i < N_MAX; i++) {
		uint32_t off = (uint32_t)backend_below(b, LEN);
		uint32_t len = 1 + (uint32_t)backend_below(b, PIECE), first;
		uint8_t *bytes = memory(b, i);

		first = (uint32_t)backend_below(b, len);
		iov[i][0] = (struct iovec){ bytes, first };
		iov[i][1] = (struct iovec){ bytes + first, len - first };
		reqs[i] = (struct io_req){ .owner = b };
		io_req_read(&reqs[i], file, bytes, len, off);
		reqs[i].iov = iov[i];
		reqs[i].n_iov = 2;
	}
	backend_run(b, reqs, N_MAX);
	for (unsigned i = 0; i < N_MAX; i++) {
		uint64_t here = MIN(reqs[i].len, LEN - reqs[i].off);

		cr_assert_eq(reqs[i].result, (int64_t)here);
		cr_assert_eq(memcmp(iov[i][0].iov_base, want + reqs[i].off, here), 0,
			     "at %u, %u bytes", (unsigned)reqs[i].off, (unsigned)here);
	}
}

BACKEND_TEST(off_the_grid_against_an_array)
{
	struct file *file = open_direct(b, "disk");

	for (unsigned turn = 0; turn < N_TURNS; turn++) {
		write_all(b, file);
		read_some(b, file);
	}
	file_close(file);
}

/* The engine's own blocking writes (a header's link) and its workers' change other bytes of one
 * block: each reads the block, changes its part and writes it back. */
BACKEND_TEST(off_the_grid_two_writers_of_one_block)
{
	static struct io_req reqs[GRID / SECTOR / 2];
	struct file *file = open_direct(b, "disk");

	memset(want, 0, sizeof(want));
	for (unsigned turn = 0; turn < 200; turn++) {
		uint32_t at = (uint32_t)backend_below(b, LEN / GRID) * GRID;

		for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
			uint32_t off = at + 2 * i * SECTOR;

			fill(b, want + off, SECTOR);
			memcpy(bufs[i], want + off, SECTOR);
			reqs[i] = (struct io_req){ .owner = b };
			io_req_write(&reqs[i], file, bufs[i], SECTOR, off);
			io_submit(b->io, &reqs[i]);
		}
		io_kick(b->io);
		for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
			uint32_t off = at + (2 * i + 1) * SECTOR;

			fill(b, want + off, SECTOR);
			cr_assert_eq(file_write(file, want + off, SECTOR, off), 0);
		}
		backend_wait(b);
		cr_assert_eq(file_read(file, bufs[0], GRID, at), 0);
		cr_assert_eq(memcmp(bufs[0], want + at, GRID), 0, "turn %u: a write is lost", turn);
	}
	file_close(file);
}

/* An aligned request and one that is not make a file longer, and neither cuts the other's off. */
BACKEND_TEST(off_the_grid_behind_the_end)
{
	struct file *file = open_direct(b, "disk");
	struct io_req reqs[2] = { { .owner = b }, { .owner = b } };

	for (uint64_t end = LEN; end < LEN + 64 * GRID; end += 2 * GRID) {
		fill(b, bufs[0], GRID);
		io_req_write(&reqs[0], file, bufs[0] + 7, SECTOR, end);
		io_req_write(&reqs[1], file, bufs[0], GRID, end + GRID);
		backend_run(b, reqs, 2);
		cr_assert_eq(reqs[0].result, SECTOR);
		cr_assert_eq(reqs[1].result, GRID);
		file->len = end + 2 * GRID;
		cr_assert_eq(file_read(file, bufs[1], GRID + SECTOR, end + GRID - SECTOR), 0);
		for (unsigned i = 0; i < SECTOR; i++)
			cr_assert_eq(bufs[1][i], 0);
		cr_assert_eq(memcmp(bufs[1] + SECTOR, bufs[0], GRID), 0);
		cr_assert_eq(file_read(file, bufs[1], SECTOR, end), 0);
		cr_assert_eq(memcmp(bufs[1], bufs[0] + 7, SECTOR), 0);
	}
	file_close(file);
}

static unsigned n_padded;

static int count_padded(struct file *file, const void *buf, size_t len, uint64_t off)
{
	(void)file, (void)buf, (void)len, (void)off;
	n_padded++;
	return 0;
}

/* A device has no room behind its end, and a block that reaches over it must not be written in
 * part. */
Test(unaligned, a_device_ends_where_it_ends)
{
	static const struct file_ops ops = { .write_padded = count_padded };
	struct file device = { .ops = &ops, .len = 2 * GRID, .is_block = true, .io_align = GRID };
	struct io_req req = { 0 };
	uint8_t bytes[SECTOR] = { 0 };

	io_req_write(&req, &device, bytes, SECTOR, device.len - SECTOR);
	io_req_run_unaligned(&req);
	cr_assert_eq(req.result, SECTOR);
	cr_assert_eq(n_padded, 1);
	io_req_write(&req, &device, bytes, SECTOR, device.len - SECTOR + 1);
	io_req_run_unaligned(&req);
	cr_assert_eq(req.result, -ENOSPC);
	device.is_block = false;
	io_req_run_unaligned(&req);
	cr_assert_eq(req.result, SECTOR, "a file grows");
	cr_assert_eq(n_padded, 2);
}
