/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reads past the page cache: what a kernel would refuse stops the test, what it may refuse is
 * drawn. */
#include <errno.h>
#include <stdio.h>

#include "tests/machine/files/sim_private.h"

/* Of whole blocks, in a file that is only read, and before its end. */
static bool sim_past_is_sound(const struct io_req *req)
{
	uint64_t all = (req->off + req->done_len) | (req->len - req->done_len);

	for (unsigned i = 0; i < req->n_iov; i++)
		all |= (uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len;
	return req->kind == IO_READ && !req->file->writable && is_aligned(all, SIM_PAST_ALIGN) &&
	       req->off + req->len <= req->file->len;
}

int sim_past_begin(struct sim *sim, const struct io_req *req)
{
	if (!sim_past_is_sound(req)) {
		fprintf(stderr, "sim: %#llx of %s can't be read past the page cache\n",
			(unsigned long long)req->off, req->file->name);
		abort();
	}
	if (sim_chance(sim, sim->knobs.past_refused_permille))
		return -EINVAL;
	return sim_chance(sim, sim->knobs.past_fails_permille) ? -EIO : 0;
}

uint64_t sim_n_past_cache(const struct sim *sim)
{
	return sim->n_past_cache;
}
