/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See sim_job.h. */
#include "engine/api/engine.h"
#include "tests/machine/sim_job.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_job_judge.h"
#include "tests/support/random.h"

#define MAX_ROUNDS  20000 /* more than any job here needs */
#define MAX_IDLE    8     /* rounds of a close that does nothing: each sleeps up to a second */
#define MAX_WAIT_MS 10000 /* the 2 s of a commit are waited for in vain nowhere */
#define MAX_GUESTS  3

/* One job at a time is stepped. */
static struct sim_job *stepped;
static struct io_ops step_ops;
static unsigned (*reap_any)(struct io *io, struct io_req **out, unsigned max);

uint64_t sim_job_below(struct sim_job *j, uint64_t n)
{
	return n ? (random_step(&j->state) * UINT64_C(2685821657736338717) >> 20) % n : 0;
}

/* News end the engine's round: so each is one of its own, with one completion. */
static unsigned reap_one(struct io *io, struct io_req **out, unsigned max)
{
	unsigned n = reap_any(io, out, 1);

	stepped->engine->loop.has_news = true;
	stepped->n_idle =
		n || stepped->sim->n_flights || stepped->sim->n_waiting ? 0 : stepped->n_idle + 1;
	sim_job_assert(stepped, ++stepped->n_rounds < MAX_ROUNDS, "it hangs in step %d",
		       (int)sim_job_step(stepped));
	return n;
}

static void begin_wait(struct sim_job *j)
{
	j->n_rounds = j->n_idle = 0;
}

/* ---- opening and closing ---- */

void sim_job_draw(struct sim_chain *chain, const struct sim_job_kind *kind)
{
	struct sim_chain_how how = kind->how;

	how.max_depth = how.to_base ? 3 : 2;
	for (how.seed = 1;; how.seed++) {
		sim_chain_draw(chain, &how);
		if (chain->n_files > 2)
			return;
		sim_chain_free(chain);
	}
}

void sim_job_open(struct sim_job *j)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)j->chain->how.format,
					.backing_format = (enum bpull_format)j->chain->unnamed,
					.backing_rule = BPULL_BACKING_ANY,
					.user_data = j,
					.flags = j->with_guest ? BPULL_DISK_GUEST_IO : 0 };
	struct bpull_error error;
	int rc;

	j->state = j->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	j->sim = sim_new(j->seed);
	j->options.size = sizeof(j->options);
	j->options.guest_share = 100; /* it never waits for the clock */
	sim_chain_put(j->chain, j->sim);
	model_begin(&j->guest.model, j->chain->want, j->chain->guest_len);
	rc = engine_open_on(sim_io(j->sim), sim_opener(j->sim), SIM_PULL_MEMORY, &j->engine);
	sim_job_assert(j, !rc, "no engine");
	stepped = j;
	step_ops = *j->sim->io.ops;
	reap_any = step_ops.reap;
	step_ops.reap = reap_one;
	j->sim->io.ops = &step_ops;
	j->engine->budget.commit_len = 4 * j->chain->cluster_len;
	rc = bpull_disk_open(j->engine, SIM_CHAIN_TOP, &o, &j->guest.disk, &error);
	sim_job_assert(j, !rc, "it does not open: %s", error.message);
}

/* Requests whose events were not taken any more. */
static void forget_requests(struct sim_job *j)
{
	for (unsigned i = 0; i < SIM_GUEST_MAX; i++) {
		struct sim_guest_request *r = &j->guest.requests[i];

		if (!r->busy)
			continue;
		free(r->buf);
		free(r->read.legal);
		free(r->flush.legal);
		r->busy = false;
	}
	j->guest.n_in_flight = 0;
}

/* Closing waits inside: what waits in vain is seen by rounds in which nothing is done. */
static unsigned reap_closing(struct io *io, struct io_req **out, unsigned max)
{
	sim_job_assert(stepped, stepped->n_idle < MAX_IDLE, "closing hangs in step %d",
		       (int)sim_job_step(stepped));
	return reap_one(io, out, max);
}

void sim_job_close_disk(struct sim_job *j)
{
	begin_wait(j);
	step_ops.reap = reap_closing;
	bpull_disk_close(j->guest.disk);
	step_ops.reap = reap_one;
	j->guest.disk = NULL;
	forget_requests(j);
}

void sim_job_close(struct sim_job *j)
{
	begin_wait(j);
	step_ops.reap = reap_closing;
	bpull_engine_close(j->engine);
	j->engine = NULL;
	j->guest.disk = NULL;
	forget_requests(j);
}

void sim_job_free(struct sim_job *j)
{
	if (j->engine)
		sim_job_close(j);
	model_end(&j->guest.model);
	sim_free(j->sim);
}

/* ---- events ---- */

static void take_event(struct sim_job *j, const struct bpull_event *event)
{
	sim_job_assert(j, event->disk == j->guest.disk, "an event of no disk");
	if (event->type == BPULL_EVENT_IO && !j->with_guest) {
		sim_job_assert(j, event->error == -EINVAL, "a request without GUEST_IO: %s",
			       strerror(-event->error));
		j->n_refused++;
	} else if (event->type == BPULL_EVENT_IO) {
		sim_job_assert(j, !event->error || j->may_fail, "a request fails: %s",
			       strerror(-event->error));
		j->n_failed += event->error != 0;
		sim_job_assert(j, sim_guest_end(&j->guest, event), "%s", j->guest.wrong);
	} else if (event->type == BPULL_EVENT_JOB_STOPPED) {
		struct bpull_job_info info = { .size = sizeof(info) };

		j->n_stops++;
		bpull_job_get_info(j->guest.disk, &info);
		sim_job_assert(j, event->error && event->message[0], "it says nothing");
		/* It may have been aborted before it stopped. */
		sim_job_assert(
			j, info.stop_error == (info.state == BPULL_JOB_PAUSED ? event->error : 0),
			"stopped, and info has state %d, error %d", (int)info.state,
			info.stop_error);
	} else if (event->status == BPULL_JOB_READY) {
		j->n_ready++;
	} else {
		j->n_ends++;
		sim_job_assert(j, j->n_ends <= j->n_starts, "a second end");
		j->status = event->status;
		j->error = event->error;
		snprintf(j->message, sizeof(j->message), "%s", event->message);
		j->link_unknown = strstr(event->message, "can't be known");
		sim_job_judge_end(j);
	}
}

void sim_job_round(struct sim_job *j)
{
	struct bpull_event events[4];
	int n;

	if (j->has_traffic && j->guest.n_in_flight < MAX_GUESTS && !sim_job_below(j, 4))
		sim_job_request(j, (enum sim_guest_kind)sim_job_below(j, SIM_GUEST_N_KINDS));
	n = bpull_engine_process(j->engine, events, ARRAY_LEN(events));
	sim_job_assert(j, n >= 0, "process() failed");
	for (int i = 0; i < n; i++)
		take_event(j, &events[i]);
}

/* A round, and where nothing is in flight a sleep that must end. */
static void round_and_sleep(struct sim_job *j)
{
	if (!j->sim->n_flights) {
		struct pollfd ready = { .fd = bpull_engine_fd(j->engine), .events = POLLIN };

		sim_job_assert(j, poll(&ready, 1, MAX_WAIT_MS) == 1, "nothing happens in step %d",
			       (int)sim_job_step(j));
	}
	sim_job_round(j);
}

/* ---- the job ---- */

bool sim_job_is_running(struct sim_job *j)
{
	return j->n_ends < j->n_starts;
}

int sim_job_start(struct sim_job *j)
{
	struct bpull_error error = { 0 };
	int rc = bpull_job_start(j->guest.disk, &j->options, &error);

	sim_job_assert(j, !rc || error.message[0], "refused without a word");
	j->n_starts += !rc;
	return rc;
}

bool sim_job_step_once(struct sim_job *j)
{
	round_and_sleep(j);
	return sim_job_is_running(j);
}

bool sim_job_run_to(struct sim_job *j, enum job_step step, unsigned n)
{
	bool met = false;

	begin_wait(j);
	while (sim_job_is_running(j)) {
		if (sim_job_step(j) == step && !n--)
			return true;
		if (met && sim_job_step(j) != step)
			return false;
		met = sim_job_step(j) == step;
		if (met && step == JOB_READY) {
			sim_job_round(j); /* it stays */
			continue;
		}
		if (sim_job_step(j) == JOB_READY)
			bpull_job_finalize(j->guest.disk);
		round_and_sleep(j);
	}
	return false;
}

bool sim_job_run_to_stop(struct sim_job *j)
{
	unsigned n_stops = j->n_stops;

	for (begin_wait(j); sim_job_is_running(j); round_and_sleep(j)) {
		if (j->n_stops != n_stops)
			return true;
		if (sim_job_step(j) == JOB_READY)
			bpull_job_finalize(j->guest.disk);
	}
	return false;
}

void sim_job_run(struct sim_job *j)
{
	for (begin_wait(j); sim_job_is_running(j); round_and_sleep(j)) {
		if (sim_job_step(j) == JOB_READY)
			bpull_job_finalize(j->guest.disk);
	}
	sim_job_assert(j, j->n_ends == j->n_starts, "%u ends of %u jobs", j->n_ends, j->n_starts);
}

void sim_job_run_guest(struct sim_job *j)
{
	bool had_traffic = j->has_traffic;

	j->has_traffic = false;
	for (begin_wait(j); j->guest.n_in_flight;)
		round_and_sleep(j);
	j->has_traffic = had_traffic;
}

void sim_job_settle(struct sim_job *j)
{
	begin_wait(j);
	for (unsigned n = 0; n < 3;) {
		sim_job_round(j);
		n = j->n_idle ? n + 1 : 0;
	}
}

void sim_job_mend(struct sim_job *j)
{
	sim_clear_faults(j->sim);
}

/* ---- the guest ---- */

void sim_job_request(struct sim_job *j, enum sim_guest_kind kind)
{
	struct sim_guest_request r = { .kind = kind };
	uint64_t disk_len = j->chain->guest_len;

	/* Room for what the end of the test writes. */
	if (j->guest.model.n_versions + 4 > MODEL_MAX_VERSIONS && kind != SIM_GUEST_FLUSH &&
	    kind != SIM_GUEST_STATUS)
		r.kind = SIM_GUEST_READ;
	r.len = 1 + sim_job_below(j, MIN(3 * (uint64_t)j->chain->cluster_len, disk_len));
	r.off = sim_job_below(j, disk_len - r.len + 1);
	if (r.kind == SIM_GUEST_WRITE)
		r.value = 1 + (uint8_t)sim_job_below(j, 255);
	sim_guest_submit(&j->guest, &r);
}

static void use(struct sim_job *j, const struct sim_guest_request *r)
{
	bool could_fail = j->may_fail;

	j->may_fail = false;
	sim_guest_submit(&j->guest, r);
	sim_job_run_guest(j);
	j->may_fail = could_fail;
}

void sim_job_use(struct sim_job *j)
{
	uint64_t len = MIN(j->chain->guest_len, 700);
	uint64_t off = sim_job_below(j, j->chain->guest_len - len + 1);

	sim_job_run_guest(j); /* those before may fail as they could */
	if (j->guest.model.n_versions < MODEL_MAX_VERSIONS)
		use(j, &(struct sim_guest_request){
			       .kind = SIM_GUEST_WRITE, .off = off, .len = len, .value = 0x77 });
	use(j, &(struct sim_guest_request){ .kind = SIM_GUEST_FLUSH });
	use(j, &(struct sim_guest_request){ .kind = SIM_GUEST_READ,
					    .len = j->chain->guest_len,
					    .cuts = { 1, j->chain->guest_len } });
}

bool sim_job_use_again(struct sim_job *j)
{
	j->may_fail = false;
	if (j->with_guest)
		sim_job_use(j);
	if (!sim_job_below(j, 2))
		return false;
	int rc = sim_job_start(j);

	sim_job_assert(j, !rc, "no second job: %s", strerror(-rc));
	sim_job_run(j);
	sim_job_assert(j, j->status == BPULL_JOB_COMPLETED, "the second job: %s", j->message);
	return true;
}

void sim_job_close_judged(struct sim_job *j, bool is_alone)
{
	bool has_link;

	sim_job_close(j);
	sim_job_judge(j, &has_link);
	sim_job_assert(j, j->link_unknown || has_link == !is_alone, "closed, and the link is %s",
		       has_link ? "there" : "gone");
}
