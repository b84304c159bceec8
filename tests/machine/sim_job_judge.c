/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See sim_job_judge.h. */
#include "tests/machine/sim_job_judge.h"

#include <inttypes.h>

#include "tests/machine/files/sim_private.h"

static void judge_left(struct sim_job *j, const struct sim_cut *how, uint8_t *got, bool *has_link)
{
	struct sim *left = sim_cut(j->sim, how);
	struct sim_verdict v;

	sim_guest_judge_cut(&j->guest, j->chain, left, got, &v);
	sim_job_assert(j, v.ok, "what is left (mode %d): %s", (int)how->mode, v.text);
	*has_link = v.has_backing;
	sim_free(left);
}

void sim_job_judge(struct sim_job *j, bool *has_link)
{
	/* Nothing of what is uncertain comes through, or all but the last of it, or any. */
	const struct sim_cut cuts[] = {
		{ .mode = SIM_CUT_ALL_LOST },
		{ .mode = SIM_CUT_PREFIX, .n = MAX(sim_n_uncertain(j->sim), (size_t)1) - 1 },
		{ .mode = SIM_CUT_RANDOM, .seed = j->seed + j->n_ends },
	};
	uint8_t *got = sim_need(malloc(j->chain->guest_len));

	judge_left(j, &(struct sim_cut){ .mode = SIM_CUT_NONE }, got, has_link);
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		bool after_cut;

		judge_left(j, &cuts[i], got, &after_cut);
		sim_job_assert(j, after_cut == *has_link || j->link_unknown || !j->n_ends,
			       "the link is %s, and a power cut (mode %d) changes that",
			       *has_link ? "there" : "gone", (int)cuts[i].mode);
	}
	sim_job_assert(j, sim_chain_backing_is_same(j->chain, j->sim),
		       "a backing file was changed");
	free(got);
}

unsigned sim_job_depth(const struct sim_job *j, bool completed)
{
	unsigned i = 1;

	if (!completed)
		return j->chain->n_files;
	if (!j->options.base)
		return 1;
	while (strcmp(j->chain->files[i].name, j->options.base))
		i++;
	return j->chain->n_files - i + 1;
}

void sim_job_judge_end(struct sim_job *j)
{
	bool completed = j->status == BPULL_JOB_COMPLETED, has_link;
	struct bpull_job_info info = { .size = sizeof(info) };

	sim_job_assert(j, bpull_job_get_info(j->guest.disk, &info) == 1, "no info");
	sim_job_assert(j, info.state == BPULL_JOB_CONCLUDED && info.status == j->status,
		       "the event says %d, info state %d, status %d", (int)j->status,
		       (int)info.state, (int)info.status);
	sim_job_assert(j, info.error == j->error && !!j->error == (j->status == BPULL_JOB_FAILED),
		       "status %d, error %d, in info %d", (int)j->status, j->error, info.error);
	/* One that completed may say that the mark could not be taken away, where that failed. */
	sim_job_assert(j,
		       !!j->message[0] == (j->status == BPULL_JOB_FAILED) ||
			       (completed && j->chain->how.mixed && j->may_fail),
		       "status %d, message '%s'", (int)j->status, j->message);
	sim_job_assert(j, !completed || info.cur == info.end, "COMPLETED at %" PRIu64, info.cur);
	sim_job_assert(j, bpull_disk_depth(j->guest.disk) == sim_job_depth(j, completed),
		       "status %d, and the disk has %u images", (int)j->status,
		       bpull_disk_depth(j->guest.disk));
	sim_job_judge(j, &has_link);
	if (!j->link_unknown)
		sim_job_assert(j, has_link == !completed, "status %d (%s), and the link is %s",
			       (int)j->status, j->message, has_link ? "there" : "gone");
}
