/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every call of <blockpull.h> that takes a disk or an engine: see states.h. */
#include <errno.h>
#include <inttypes.h>

#include "tests/machine/sim_job_judge.h"
#include "tests/whole/plays/states.h"

static int call_start(struct state_trial *t)
{
	return sim_job_start(&t->job);
}

static const struct bpull_job_options no_such_base = { .size = sizeof(no_such_base),
						       .base = "/no-such-file" };
static const struct bpull_job_options unknown_flag = { .size = sizeof(unknown_flag),
						       .flags = 1u << 31 };

static int call_start_without_base(struct state_trial *t)
{
	return bpull_job_start(state_disk(t), &no_such_base, &t->error);
}

static int call_start_unknown(struct state_trial *t)
{
	return bpull_job_start(state_disk(t), &unknown_flag, &t->error);
}

static int call_check(struct state_trial *t)
{
	return bpull_job_check(state_disk(t), &t->job.options, &t->error);
}

/* For another target than the job has. */
static int call_check_other(struct state_trial *t)
{
	struct bpull_job_options o = { .size = sizeof(o), .base = t->job.options.base };

	o.base = o.base ? NULL : t->job.chain->files[t->job.chain->n_files - 1].name;
	/* After a whole pull that is no file of the chain any more. */
	if (t->state == COMPLETED)
		o.base = NULL;
	return bpull_job_check(state_disk(t), &o, &t->error);
}

static int call_check_without_base(struct state_trial *t)
{
	return bpull_job_check(state_disk(t), &no_such_base, &t->error);
}

static int call_info(struct state_trial *t)
{
	static const enum bpull_job_state expected[] = {
		BPULL_JOB_NONE,      BPULL_JOB_PAUSED,  BPULL_JOB_RUNNING,   BPULL_JOB_STOPPING,
		BPULL_JOB_STOPPING,  BPULL_JOB_RUNNING, BPULL_JOB_WAITING,   BPULL_JOB_STOPPING,
		BPULL_JOB_STOPPING,  BPULL_JOB_PAUSED,  BPULL_JOB_CONCLUDED, BPULL_JOB_CONCLUDED,
		BPULL_JOB_CONCLUDED,
	};
	int rc;

	t->info.size = sizeof(t->info);
	rc = bpull_job_get_info(state_disk(t), &t->info);

	sim_job_assert(&t->job, t->info.state == expected[t->state], "info has state %d",
		       (int)t->info.state);
	sim_job_assert(&t->job, !!t->info.stop_error == (t->state == STOPPED), "stop_error %d",
		       t->info.stop_error);
	sim_job_assert(&t->job, t->info.end >= 1 && t->info.cur <= t->info.end, "cur %" PRIu64,
		       t->info.cur);
	return rc;
}

static int call_set_speed(struct state_trial *t)
{
	return bpull_job_set_speed(state_disk(t), GiB, 0);
}

static int call_pause(struct state_trial *t)
{
	int rc = bpull_job_pause(state_disk(t));

	sim_job_assert(&t->job, bpull_job_pause(state_disk(t)) == rc, "it is not idempotent");
	return rc;
}

static int call_resume(struct state_trial *t)
{
	return bpull_job_resume(state_disk(t));
}

static int call_abort(struct state_trial *t)
{
	int rc = bpull_job_abort(state_disk(t));

	sim_job_assert(&t->job, bpull_job_abort(state_disk(t)) == rc, "it is not idempotent");
	return rc;
}

static int call_finalize(struct state_trial *t)
{
	return bpull_job_finalize(state_disk(t));
}

/* There and back: the disk is used again after it. */
static int call_inactivate(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	int rc;

	j->has_traffic = false;
	rc = bpull_disk_inactivate(state_disk(t), &t->error);
	if (rc)
		return rc;
	sim_job_assert(j, !bpull_disk_inactivate(state_disk(t), NULL), "it is not idempotent");
	return bpull_disk_activate(state_disk(t), &t->error);
}

static int call_while_inactive(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	struct bpull_extent e;
	uint64_t n_ops;
	int rc;

	j->has_traffic = false;
	rc = bpull_disk_inactivate(state_disk(t), &t->error);
	if (rc)
		return rc;
	n_ops = sim_n_all_ops(j->sim);
	sim_job_assert(j, bpull_job_start(state_disk(t), &j->options, NULL) == -EPERM, "start");
	sim_job_assert(j, bpull_job_check(state_disk(t), &j->options, NULL) == -EPERM, "check");
	sim_job_assert(j, bpull_disk_map(state_disk(t), 0, &e, 1, NULL) == -EPERM, "map");
	sim_job_settle(j);
	sim_job_assert(j, sim_n_all_ops(j->sim) == n_ops, "inactive, and it does something");
	return bpull_disk_activate(state_disk(t), &t->error);
}

static int call_activate(struct state_trial *t)
{
	return bpull_disk_activate(state_disk(t), &t->error);
}

/* The disk stays as it is: its length is what the trial's guest knows. */
static int call_shrink(struct state_trial *t)
{
	return bpull_disk_resize(state_disk(t), 0, NULL, &t->error);
}

static int call_set_copy_on_read(struct state_trial *t)
{
	return bpull_disk_set_copy_on_read(state_disk(t), 1);
}

static int call_stats(struct state_trial *t)
{
	struct bpull_disk_stats stats = { .size = sizeof(stats) };

	return bpull_disk_get_stats(state_disk(t), &stats);
}

static int call_engine_set_speed(struct state_trial *t)
{
	bpull_engine_set_speed(t->job.engine, GiB, 0);
	return 0;
}

static int call_engine_fd(struct state_trial *t)
{
	return bpull_engine_fd(t->job.engine) < 0;
}

static int call_engine_io_name(struct state_trial *t)
{
	return !bpull_engine_io_name(t->job.engine)[0];
}

static int call_process(struct state_trial *t)
{
	return bpull_engine_process(t->job.engine, NULL, 0);
}

static int call_process_nowhere(struct state_trial *t)
{
	return bpull_engine_process(t->job.engine, NULL, 1);
}

static int call_wait(struct state_trial *t)
{
	return bpull_engine_wait(t->job.engine, NULL, 0, 0);
}

static int call_size(struct state_trial *t)
{
	return bpull_disk_size(state_disk(t)) != t->job.chain->guest_len;
}

/* The dropped layers are there until COMPLETED; in DETACHING they go with the link, before it. */
static unsigned expected_depth(const struct state_trial *t, unsigned depth)
{
	if (t->state == DETACHING && state_disk(t)->link.changed)
		return sim_job_depth(&t->job, true);
	return t->state == COMPLETED ? depth : t->job.chain->n_files;
}

static int call_depth(struct state_trial *t)
{
	return bpull_disk_depth(state_disk(t)) != expected_depth(t, sim_job_depth(&t->job, true));
}

static int call_find(struct state_trial *t)
{
	const struct sim_chain *chain = t->job.chain;
	unsigned depth = expected_depth(t, sim_job_depth(&t->job, true));

	for (unsigned i = 0; i < chain->n_files; i++) {
		unsigned dropped = chain->n_files - depth;
		bool is_there = i && i > dropped;
		uint32_t found = 0;
		int rc = bpull_disk_find(state_disk(t), chain->files[i].name, &found, &t->error);

		sim_job_assert(&t->job, rc == (is_there ? 0 : -EINVAL), "%s of %u: %s",
			       chain->files[i].name, depth, rc ? t->error.message : "found");
		sim_job_assert(&t->job, rc || found == i - dropped, "%s is number %u",
			       chain->files[i].name, found);
	}
	return 0;
}

static int call_map(struct state_trial *t)
{
	struct bpull_extent e[4];
	uint64_t at = 0;
	int n;

	while ((n = bpull_disk_map(state_disk(t), at, e, ARRAY_LEN(e), &t->error)) > 0)
		for (int i = 0; i < n; i++) {
			sim_job_assert(&t->job, e[i].start == at && e[i].length, "a gap");
			sim_job_assert(&t->job,
				       !e[i].present ||
					       e[i].depth < bpull_disk_depth(state_disk(t)),
				       "image %u answers", e[i].depth);
			at += e[i].length;
		}
	if (t->job.may_fail && n == -EIO) /* the machine's reads fail */
		return 0;
	sim_job_assert(&t->job, n || at == t->job.chain->guest_len, "it ends at %" PRIu64, at);
	return n;
}

static int call_words(struct state_trial *t)
{
	const char *words[] = { bpull_disk_warning(state_disk(t)), bpull_disk_hint(state_disk(t)),
				bpull_disk_note(state_disk(t)) };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		sim_job_assert(&t->job, !words[i] || words[i][0], "word %zu is empty", i);
	return 0;
}

/* The image is locked by the disk that is open. */
static int call_open_again(struct state_trial *t)
{
	struct bpull_disk_options o = { .size = sizeof(o), .backing_rule = BPULL_BACKING_ANY };
	struct bpull_disk *disk;

	return bpull_disk_open(t->job.engine, SIM_CHAIN_TOP, &o, &disk, &t->error);
}

/* Ends in an event: taken and judged there. */
static int request(struct state_trial *t, enum sim_guest_kind kind)
{
	struct sim_job *j = &t->job;
	unsigned n = j->n_refused;

	if (j->with_guest) {
		sim_job_request(j, kind);
		return 0;
	}
	switch (kind) {
	case SIM_GUEST_READ: bpull_read(state_disk(t), NULL, 0, 0, t); break;
	case SIM_GUEST_WRITE: bpull_write(state_disk(t), NULL, 0, 0, 0, t); break;
	case SIM_GUEST_ZEROES: bpull_write_zeroes(state_disk(t), 0, 512, 0, t); break;
	case SIM_GUEST_DISCARD: bpull_discard(state_disk(t), 0, 512, t); break;
	case SIM_GUEST_FLUSH: bpull_flush(state_disk(t), t); break;
	case SIM_GUEST_STATUS:
	case SIM_GUEST_N_KINDS: bpull_block_status(state_disk(t), 0, 512, NULL, 0, t); break;
	}
	for (int i = 0; i < 20 && j->n_refused == n; i++)
		sim_job_round(j);
	sim_job_assert(j, j->n_refused == n + 1, "no event");
	return 0;
}

static int call_read(struct state_trial *t)
{
	return request(t, SIM_GUEST_READ);
}

static int call_write(struct state_trial *t)
{
	return request(t, SIM_GUEST_WRITE);
}

static int call_write_zeroes(struct state_trial *t)
{
	return request(t, SIM_GUEST_ZEROES);
}

static int call_discard(struct state_trial *t)
{
	return request(t, SIM_GUEST_DISCARD);
}

static int call_flush(struct state_trial *t)
{
	return request(t, SIM_GUEST_FLUSH);
}

static int call_block_status(struct state_trial *t)
{
	return request(t, SIM_GUEST_STATUS);
}

/* This engine has no thread. */
static int call_blocking(struct state_trial *t)
{
	struct bpull_extent e;
	char sector[512] = "";
	int rc[] = { bpull_pread(state_disk(t), sector, sizeof(sector), 0),
		     bpull_pwrite(state_disk(t), sector, sizeof(sector), 0, 0),
		     bpull_pwrite_zeroes(state_disk(t), 0, 512, 0),
		     bpull_pdiscard(state_disk(t), 0, 512),
		     bpull_pflush(state_disk(t)),
		     bpull_pblock_status(state_disk(t), 0, 512, &e, 1),
		     bpull_presize(state_disk(t), GiB, &t->error),
		     bpull_job_wait(state_disk(t), -1) };

	for (size_t i = 0; i < ARRAY_LEN(rc); i++)
		sim_job_assert(&t->job, rc[i] == -EINVAL, "call %zu: %d", i, rc[i]);
	return -EINVAL;
}

static int call_disk_close(struct state_trial *t)
{
	sim_job_close_disk(&t->job);
	return 0;
}

static int call_engine_close(struct state_trial *t)
{
	sim_job_close(&t->job);
	return 0;
}

const struct state_call state_calls[N_STATE_CALLS] = {
	{ "job_start", call_start, "0BBBBBBBBB000", STARTS },
	{ "job_start, no such base", call_start_without_base, "IBBBBBBBBBIII", NOTHING },
	{ "job_start, unknown flag", call_start_unknown, "IIIIIIIIIIIII", NOTHING },
	{ "job_check", call_check, "0BBBBBBBBB000", NOTHING },
	{ "job_check, another base", call_check_other, "0BBBBBBBBB000", NOTHING },
	{ "job_check, no such base", call_check_without_base, "IBBBBBBBBBIII", NOTHING },
	{ "job_info", call_info, "0111111111111", NOTHING },
	{ "job_set_speed", call_set_speed, "N000000000NNN", NOTHING },
	{ "job_pause", call_pause, "N000000000NNN", PAUSES },
	{ "job_resume", call_resume, "N000000000NNN", RESUMES },
	{ "job_abort", call_abort, "N000000000NNN", ABORTS },
	{ "job_finalize", call_finalize, "NAAAAA0AAANNN", FINALIZES },
	{ "disk_inactivate", call_inactivate, "0BBBBBBBBB000", NOTHING },
	{ "disk_inactivate, then others", call_while_inactive, "0BBBBBBBBB000", NOTHING },
	{ "disk_activate, active", call_activate, "0000000000000", NOTHING },
	{ "disk_resize, shorter", call_shrink, "SGGGGGGGGGSSS", NOTHING },
	{ "disk_set_copy_on_read", call_set_copy_on_read, "CCCCCCCCCCCCC", NOTHING },
	{ "disk_get_stats", call_stats, "0000000000000", NOTHING },
	{ "disk_size", call_size, "0000000000000", NOTHING },
	{ "disk_depth", call_depth, "0000000000000", NOTHING },
	{ "disk_find", call_find, "0000000000000", NOTHING },
	{ "disk_map", call_map, "0000000000000", NOTHING },
	{ "disk_warning, _hint, _note", call_words, "0000000000000", NOTHING },
	{ "read", call_read, "0000000000000", NOTHING },
	{ "write", call_write, "0000000000000", NOTHING },
	{ "write_zeroes", call_write_zeroes, "0000000000000", NOTHING },
	{ "discard", call_discard, "0000000000000", NOTHING },
	{ "flush", call_flush, "0000000000000", NOTHING },
	{ "block_status", call_block_status, "0000000000000", NOTHING },
	{ "pread to job_wait", call_blocking, "IIIIIIIIIIIII", NOTHING },
	{ "disk_open, the same image", call_open_again, "BBBBBBBBBBBBB", NOTHING },
	{ "engine_set_speed", call_engine_set_speed, "0000000000000", NOTHING },
	{ "engine_fd", call_engine_fd, "0000000000000", NOTHING },
	{ "engine_io_name", call_engine_io_name, "0000000000000", NOTHING },
	{ "engine_process", call_process, "0000000000000", NOTHING },
	{ "engine_process, nowhere", call_process_nowhere, "IIIIIIIIIIIII", NOTHING },
	{ "engine_wait", call_wait, "0000000000000", NOTHING },
	{ "disk_close", call_disk_close, "0000000000000", CLOSES },
	{ "engine_close", call_engine_close, "0000000000000", CLOSES },
};
