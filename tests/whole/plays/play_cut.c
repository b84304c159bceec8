/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a play leaves: after a power cut in its middle, and at its end. */
#include <string.h>

#include "tests/machine/sim_pull_qemu.h"
#include "tests/whole/plays/play.h"
#include "tests/support/files/scratch.h"

/* A whole pull of what is left: its model is what was read of it. */
static void pull_again(struct play *p, const struct sim_chain *now, struct sim *left, uint8_t *got)
{
	struct sim_chain after = *now;
	struct sim_verdict v;
	struct sim_pull again;
	int rc;

	after.want = got;
	after.how.n_snapshots = 0;
	after.how.to_base = false;
	after.how.piece_len = 0; /* a rate waits for the clock, which stands here */
	rc = p->sources ? play_sources_pull(p, &after, left, &again)
			: sim_pull_whole(&after, left, SIM_PULL_MEMORY, 0, &again);
	/* The mark of a mixture is refused. */
	if (rc == -EPERM && p->is_stale)
		return;
	CHECK(p, !rc, "pulled after a cut: %s %s%s", strerror(-rc), again.error.message,
	      again.message);
	sim_pull_judge(&after, left, &v);
	CHECK(p, v.ok && !v.n_leaks && !v.has_backing, "pulled after a cut: %s", v.text);
	sim_pull_judge_snapshots(p->chain, left, &v);
	CHECK(p, v.ok, "pulled after a cut: %s", v.text);
}

void play_judge_bitmaps(struct play *p, struct sim *sim, bool has_written)
{
	if (!(p->chain->how.autoclear & 1) || !has_written)
		return;
	play_met.bitmaps_cleared++;
	CHECK(p, !sim_chain_has_bitmaps(p->chain, sim),
	      "the guest has written, and the bitmaps are said to hold");
}

/* The image opens, checks without errors, holds in each byte what it may, keeps its snapshots, and
 * no link comes back that was said to be gone (I4); one in a few is pulled to its end. */
void play_judge_cut(struct play *p, const struct sim_cut *how)
{
	struct sim *left = sim_cut(p->sim, how);
	uint8_t *got = sim_need(calloc(1, p->model_len));
	unsigned link = sim_chain_link(p->chain, left);
	struct sim_chain now = *p->chain;
	struct sim_verdict v;

	CHECK(p,
	      link == p->link ||
		      (link == p->target && (p->job_runs || p->closed_with_job || p->given_up)),
	      "after a cut (mode %d, seed %" PRIu64 ") the link is %s instead of %s",
	      (int)how->mode, how->seed, link == SIM_CHAIN_NO_FILE ? "strange" : play_file(p, link),
	      play_file(p, p->link));
	now.guest_len = play_judge_len(p, left, "after a cut");
	play_met.grow_cuts += p->grow_to != 0;
	sim_guest_judge_cut(&p->guest, &now, left, got, &v);
	CHECK(p, v.ok, "after a cut (mode %d, seed %" PRIu64 "): %s", (int)how->mode, how->seed,
	      v.text);
	/* Also where a part of a write is there that was never said to be done. */
	play_judge_bitmaps(p, left, memcmp(got, now.want, p->opened_len) != 0);
	p->n_states++;
	/* Without a link there is nothing to pull: leaks stay for check --repair. */
	if (link < p->chain->n_files && !play_below(p, 8))
		pull_again(p, &now, left, got);
	free(got);
	sim_free(left);
}

/* Data gone, tables there: what each order of writes must survive. The image's tables are all but
 * the writes of whole runs; any line between them will do, as each state must be legal. */
static bool keep_short(void *arg, const char *name, uint64_t off, uint64_t len)
{
	return !strcmp(name, SIM_CHAIN_TOP) && len <= *(uint64_t *)arg;
}

void play_cut_now(struct play *p)
{
	static const enum sim_cut_mode modes[] = { SIM_CUT_ALL_LOST,  SIM_CUT_ALL_KEPT,
						   SIM_CUT_ONLY_LAST, SIM_CUT_RANDOM,
						   SIM_CUT_RANDOM,    SIM_CUT_CHOSEN };
	uint64_t limit = UINT64_C(8) << play_below(p, 8);
	struct sim_cut how = { .mode = modes[play_below(p, ARRAY_LEN(modes))],
			       .seed = play_below(p, UINT32_MAX),
			       .keep = keep_short,
			       .arg = &limit };

	play_judge_cut(p, &how);
}

void play_judge_end(struct play *p, uint8_t *last)
{
	struct sim_chain after = *p->chain;
	unsigned link = sim_chain_link(p->chain, p->sim);
	struct sim_verdict v;
	bool ran;

	CHECK(p, link == p->link || (p->closed_with_job && link == p->target),
	      "at the end the link is %s instead of %s",
	      link == SIM_CHAIN_NO_FILE ? "strange" : play_file(p, link), play_file(p, p->link));
	play_judge_bitmaps(p, p->sim, p->has_written);
	play_judge_len(p, p->sim, "at the end");
	after.want = last;
	after.how.n_snapshots = 0;
	sim_pull_judge(&after, p->sim, &v);
	CHECK(p, v.ok, "at the end: %s", v.text);
	/* A full disk may have left some, for which it needed room, too. */
	CHECK(p, !v.n_leaks || p->space, "%" PRIu64 " clusters leaked: %s", v.n_leaks, v.text);
	CHECK(p, sim_chain_rest_is_same(p->chain, p->sim, p->link), "a backing file was changed");
	sim_pull_judge_snapshots(p->chain, p->sim, &v);
	CHECK(p, v.ok, "%s", v.text);
	/* QEMU holds QED's tables in memory as a whole, here of 1 GiB each, and refuses. */
	if (p->seed % PLAY_QEMU_EVERY == 0 && !(after.how.far && after.how.format == IMAGE_QED))
		sim_pull_qemu(&after, p->sim, scratch_dir(), &v, &ran);
	CHECK(p, v.ok, "%s", v.text);
}
