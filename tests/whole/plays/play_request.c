/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The guest's requests in a play: drawn, submitted, and judged when they end. */
#include <errno.h>
#include <string.h>

#include "tests/whole/plays/play.h"

static void choose_range(struct play *p, struct sim_guest_request *r)
{
	uint64_t disk_len = p->chain->guest_len,
		 align = UINT64_C(1)
			 << (play_below(p, 3) * play_below(p, 5) + play_below(p, 2) * 9);
	uint64_t max = play_below(p, 3) ? 3 * p->chain->cluster_len : 20 * p->chain->cluster_len;

	r->len = 1 + play_below(p, MIN(max, disk_len));
	r->off = play_below(p, disk_len - r->len + 1);
	if (play_below(p, 2)) {
		r->off = round_down(r->off, align);
		r->len = MIN(round_up(r->len, align), disk_len - r->off);
	}
	if (!play_below(p, 10)) /* whole clusters */
		r->off = round_down(r->off, p->chain->cluster_len);
}

void play_submit(struct play *p, const struct sim_guest_request *r)
{
	unsigned slot = 0;

	while (p->guest.requests[slot].busy)
		slot++;
	p->n_bad_at[slot] = p->n_bad_known;
	sim_guest_submit(&p->guest, r);
}

void play_start_request(struct play *p)
{
	static const enum sim_guest_kind kinds[] = {
		SIM_GUEST_READ,   SIM_GUEST_READ,   SIM_GUEST_READ,    SIM_GUEST_READ,
		SIM_GUEST_WRITE,  SIM_GUEST_WRITE,  SIM_GUEST_WRITE,   SIM_GUEST_WRITE,
		SIM_GUEST_ZEROES, SIM_GUEST_ZEROES, SIM_GUEST_DISCARD, SIM_GUEST_FLUSH,
		SIM_GUEST_STATUS,
	};
	struct sim_guest_request r = { .kind = kinds[play_below(p, ARRAY_LEN(kinds))] };

	/* One is kept for the end. */
	if (p->guest.model.n_versions >= MODEL_MAX_VERSIONS - 1 && r.kind != SIM_GUEST_FLUSH &&
	    r.kind != SIM_GUEST_STATUS)
		r.kind = SIM_GUEST_READ;
	choose_range(p, &r);
	if (r.kind == SIM_GUEST_WRITE)
		r.value = 1 + (uint8_t)play_below(p, 255);
	play_met.requests[r.kind]++;
	r.cuts[0] = play_below(p, r.len + 1);
	r.cuts[1] = r.cuts[0] + play_below(p, r.len - r.cuts[0] + 1);
	r.flags = play_below(p, 12) ? 0 : BPULL_IO_FUA;
	if (r.kind == SIM_GUEST_ZEROES)
		r.flags |= play_below(p, 2) ? BPULL_IO_UNMAP : 0;
	else if (r.kind != SIM_GUEST_WRITE)
		r.flags = 0;
	play_submit(p, &r);
}

static bool may_fail(const struct play *p, int error)
{
	if (p->base_ever_changed) /* its tables may make no sense any more */
		return error == -EIO || error == -EUCLEAN;
	return (p->faults && error == -EIO) || ((p->faults || p->space) && error == -ENOSPC);
}

void play_end_request(struct play *p, const struct bpull_event *event)
{
	const struct sim_guest_request *r = event->user_data;
	int error = event->error;
	bool has_written, ok;

	CHECK(p,
	      !error || (!p->has_room && may_fail(p, error)) || play_sources_may_fail(p, r, error),
	      "a request failed%s: %s", p->has_room ? ", with room again" : "", strerror(-error));
	play_met.failed += error != 0;
	has_written = !error && r->kind == SIM_GUEST_WRITE;
	ok = sim_guest_end(&p->guest, event);
	CHECK(p, ok || p->base_ever_changed, "%s", p->guest.wrong);
	p->has_written |= has_written;
	play_judge_bitmaps(p, p->sim, p->has_written);
}
