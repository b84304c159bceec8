/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What others do to files. COMPLETED says that the dropped ones may be deleted
 * or used for something else, so they are, at once; what a job reads must stay,
 * and where it does not the job must not say that it is done.
 */
#include "formats/core/layer_header.h"
#include "tests/whole/plays/play.h"

#define JUNK 0xee

static void overwrite(struct play *p, const char *name, uint64_t off, uint64_t len)
{
	uint8_t *junk = sim_need(malloc(len + 1));

	memset(junk, JUNK, len);
	sim_file_overwrite(p->sim, name, junk, len, off);
	free(junk);
}

static void ruin(struct play *p, const char *name)
{
	uint64_t len = sim_file_len(p->sim, name);

	play_met.ruined++;
	switch (play_below(p, 8)) {
	case 0: break;
	case 1: sim_file_cut(p->sim, name, play_below(p, len + 1)); break;
	case 2: sim_file_remove(p->sim, name); break;
	case 3:
		sim_file_remove(p->sim, name);
		sim_file_put_hole(p->sim, name, len);
		break;
	default: overwrite(p, name, 0, len); break;
	}
}

void play_ruin(struct play *p, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		ruin(p, p->chain->files[i].name);
}

void play_judge_mark(struct play *p, const char *message)
{
	const struct bpull_disk *disk = p->guest.disk;
	const struct layer *overlay = disk_overlay(disk);

	if (!p->base_changed || p->changed_in == JOB_IDLE || !disk->since_opened.has_copied ||
	    disk->poisoned || !layer_has_claims(overlay))
		return;
	play_met.marked += overlay->is_mixed;
	CHECK(p, overlay->is_mixed || strstr(message, "could not be marked"),
	      "a backing file was changed (in step %d), the link is kept, and there is no mark: %s",
	      (int)p->changed_in, message);
}

/* A file that the job reads: what is copied may be of either state from now on, so no guest is
 * judged by the model in such a play, only how the job ends. */
void play_change_base(struct play *p)
{
	if (p->link >= p->target) /* it has nothing to pull */
		return;
	unsigned i = p->link + (unsigned)play_below(p, p->target - p->link);
	const char *name = p->chain->files[i].name;
	uint64_t len = sim_file_len(p->sim, name);

	if (p->base_changed)
		return;
	play_met.changed_bases++;
	p->base_changed = p->base_ever_changed = true;
	p->changed_in = p->guest.disk->job.step;
	p->may_have_let_go = sim_chain_link(p->chain, p->sim) == p->target ||
			     sim_chain_link_is_written(p->chain, p->sim);
	switch (play_below(p, 6)) {
	case 0:
	case 1: overwrite(p, name, len, 512); break;
	case 2: /* below what is mapped, and what is being read: tables and data, or all of it */
		play_met.cut_bases++;
		sim_file_cut(p->sim, name, play_below(p, 4) ? play_below(p, len) : 0);
		break;
	default: /* behind header and tables: the guest data of others' images changes */
		overwrite(p, name, len - 1 - play_below(p, MIN(len, UINT64_C(512))), 1);
		break;
	}
}
