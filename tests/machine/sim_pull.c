/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See sim_pull.h. */
#include "tests/machine/sim_pull.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/api/engine.h"
#include "engine/copy/walk/walk.h"
#include "io/base.h"

/* Calls of process() that a pull of these sizes never needs; each lets the clock run. */
#define MAX_CALLS 200000
/* The descriptor must become readable before: a job that waits for nothing waits for ever. */
#define MAX_SLEEP_MS 10000

uint64_t sim_pull_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

int sim_pull_open(struct sim_pull *pull, const struct sim_chain *chain, struct sim *sim,
		  struct io *io, uint64_t memory, uint64_t commit_len)
{
	struct bpull_disk_options options = {
		.size = sizeof(options),
		.backing_format = (enum bpull_format)chain->unnamed,
		.backing_trust = chain->unnamed ? BPULL_TRUST_ALONE : BPULL_TRUST_ALL,
		.backing_rule = BPULL_BACKING_ANY,
		.user_data = pull,
		.flags = pull->disk_flags,
		.find_base = pull->find_base,
		.find_opaque = pull->find_opaque,
	};
	int rc;

	*pull = (struct sim_pull){
		.sim = sim,
		.opener = pull->opener,
		.disk_flags = pull->disk_flags,
		.find_base = pull->find_base,
		.find_opaque = pull->find_opaque,
		.base = sim_chain_base(chain),
		.compression = chain->how.format == IMAGE_QED ? 0 : chain->how.compression,
		.piece_len = chain->how.piece_len,
	};
	if (chain->how.first)
		sim_first_draw(&pull->first, chain->how.seed, chain->guest_len);
	rc = engine_open_on(io ? io : sim_io(sim), pull->opener ? pull->opener : sim_opener(sim),
			    memory, &pull->engine);
	if (rc) {
		pull->engine = NULL;
		return rc;
	}
	if (commit_len)
		pull->engine->budget.commit_len = commit_len;
	rc = bpull_disk_open(pull->engine, SIM_CHAIN_TOP, &options, &pull->disk, &pull->error);
	if (rc)
		sim_pull_close(pull);
	return rc;
}

/* Stopped by an error: says where, as it must, and tries again with a machine that works. */
static void go_on(struct sim_pull *pull, const struct bpull_event *event)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(pull->disk, &info);
	pull->stop_is_told = info.state == BPULL_JOB_PAUSED && info.stop_error == event->error &&
			     event->error && event->message[0];
	pull->n_stops++;
	sim_clear_faults(pull->sim);
	sim_file_limit(pull->sim, SIM_CHAIN_TOP, 0);
	bpull_job_resume(pull->disk);
}

static bool is_over(struct sim_pull *pull)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_event event;

	if (bpull_engine_process(pull->engine, &event, 1) == 1) {
		if (event.type == BPULL_EVENT_JOB_STOPPED) {
			go_on(pull, &event);
			return false;
		}
		if (event.type == BPULL_EVENT_JOB_IGNORED) {
			pull->n_ignored++;
			pull->ignored_is_untold |= !event.error || !event.message[0];
			return false;
		}
		pull->has_event = true;
		pull->status = event.status;
		pull->event_error = event.error;
		snprintf(pull->message, sizeof(pull->message), "%s", event.message);
		return true;
	}
	bpull_job_get_info(pull->disk, &info);
	pull->lost_event = info.state == BPULL_JOB_CONCLUDED;
	pull->status = info.status;
	pull->event_error = info.error;
	return pull->lost_event;
}

int sim_pull_run(struct sim_pull *pull)
{
	struct bpull_job_options options = { .size = sizeof(options),
					     .flags = pull->flags,
					     .compression = pull->compression,
					     /* A burst that short, at a rate that is none. */
					     .bandwidth = pull->piece_len ? GiB : 0,
					     .burst = pull->piece_len,
					     .base = pull->base,
					     .first = pull->first.ranges,
					     .n_first = pull->first.n,
					     .on_error = pull->on_error };
	int rc = bpull_job_start(pull->disk, &options, &pull->error);

	while (!rc) {
		struct pollfd ready = { .fd = bpull_engine_fd(pull->engine), .events = POLLIN };

		if (pull->look)
			pull->look(pull, pull->look_arg);
		if (is_over(pull))
			break;
		if (pull->n_calls++ == MAX_CALLS || poll(&ready, 1, MAX_SLEEP_MS) != 1)
			return -ETIME;
	}
	return rc;
}

void sim_pull_close(struct sim_pull *pull)
{
	bpull_engine_close(pull->engine);
	pull->engine = NULL;
	pull->disk = NULL;
}

int sim_pull_whole(const struct sim_chain *chain, struct sim *sim, uint64_t memory,
		   uint64_t commit_len, struct sim_pull *pull)
{
	int rc;

	*pull = (struct sim_pull){ 0 };
	rc = sim_pull_open(pull, chain, sim, NULL, memory, commit_len);
	if (rc)
		return rc;
	rc = sim_pull_run(pull);
	if (!rc) {
		struct bpull_job_info info = { .size = sizeof(info) };

		bpull_job_get_info(pull->disk, &info);
		pull->n_cloned = info.cloned_bytes;
		pull->n_rounds = pull->disk->walk->rounds.n;
	}
	sim_pull_close(pull);
	if (!rc && pull->status != BPULL_JOB_COMPLETED)
		rc = pull->event_error ? pull->event_error : -EPROTO;
	return rc;
}
