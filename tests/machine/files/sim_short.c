/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Transfers that move only a part of what was asked for. */
#include "io/base.h"
#include "io/file.h"
#include "io/req.h"
#include "tests/machine/files/sim_private.h"

bool sim_is_one_sector(const struct io_req *req)
{
	return req->kind == IO_WRITE && req->off / 512 == (req->off + req->len - 1) / 512;
}

/* The kernel copies page by page, so what a process that dies has written ends between sectors. */
static uint64_t whole_sectors(const struct io_req *req, uint64_t len)
{
	uint64_t off = req->off + req->done_len, end = round_down(off + len, 512);

	return end > off ? end - off : MIN(round_up(off + 1, 512) - off, req->len - req->done_len);
}

uint64_t sim_next_len(struct sim *sim, struct sim_flight *flight)
{
	const struct io_req *req = flight->req;
	uint64_t left = req->len - req->done_len;
	/* Not by where the allocator has put the memory: the same seed moves the same pieces. */
	uint64_t align = MAX(req->file->io_align, 1u);
	uint64_t grid = is_aligned(req->off | req->len, align) ? align : 1;
	uint64_t max_len = flight->max_len;

	flight->max_len = 0;
	if (max_len && left > max_len)
		return MAX(round_down(max_len, grid), grid);
	if (left <= grid || !sim_chance(sim, sim->knobs.short_permille))
		return left;
	max_len = MAX(round_down(1 + sim_below(sim, left - 1), grid), grid);
	if (req->kind != IO_WRITE)
		return max_len;
	return sim_is_one_sector(req) ? left : whole_sectors(req, max_len);
}
