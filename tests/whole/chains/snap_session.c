/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The sessions of snap_trial.h: what the guest does, when there is a snapshot, a pull or another
 * job. */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/support/random.h"
#include "tests/whole/chains/snap_private.h"

static void request(struct snap_trial *t, enum sim_guest_kind kind, uint64_t off, uint64_t len)
{
	trial_request(&t->base, kind, off, len, NULL);
}

static void start_job(struct snap_trial *t)
{
	struct bpull_job_options o = { .size = sizeof(o) };

	trial_start_job(&t->base, &o);
}

static void write_some(struct snap_trial *t)
{
	uint64_t len = snap_disk_len(t);

	request(t, SIM_GUEST_WRITE, len / 4, len / 8);
	request(t, SIM_GUEST_ZEROES, len / 2 + 300, len / 8);
	snap_run(t);
	request(t, SIM_GUEST_DISCARD, len / 8, len / 4);
	request(t, SIM_GUEST_WRITE, len - 1000, 900);
	snap_run(t);
}

static void start_chain_job(struct snap_trial *t)
{
	struct bpull_job_options o = {
		.size = sizeof(o),
		.type = t->job.kind == SNAP_COMMIT ? BPULL_JOB_TYPE_COMMIT : BPULL_JOB_TYPE_PULL,
		.flags = t->job.flags,
		.top = snap_file_name(t, t->job.top),
		.base = snap_file_name(t, t->job.base),
	};
	struct bpull_error error;
	int rc = bpull_job_start(t->base.guest.disk, &o, &error);

	t->job.was_refused = rc == -ENOTSUP || rc == -EINVAL;
	cr_assert(!rc || t->base.may_fail || t->job.was_refused, "%s: no job: %s", t->base.what,
		  error.message);
	t->base.job_runs = !rc;
	t->base.n_failed += rc != 0;
}

/* The guest works before the job, beside it, and behind it. */
void snap_session_job(struct snap_trial *t)
{
	uint64_t len = snap_disk_len(t);

	write_some(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	snap_run(t);
	request(t, SIM_GUEST_WRITE, 700, len / 6);
	start_chain_job(t);
	for (unsigned i = 0; i < 6 && t->base.job_runs; i++) {
		struct bpull_event event;

		request(t, i % 3 == 2 ? SIM_GUEST_DISCARD : SIM_GUEST_WRITE, i * len / 7, len / 9);
		request(t, SIM_GUEST_READ, len / 5, len / 2);
		for (unsigned n = 0; n < 40 && t->base.guest.n_in_flight; n++)
			if (trial_process(&t->base, &event) == 1)
				snap_take_event(t, &event);
	}
	snap_run(t);
	write_some(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	request(t, SIM_GUEST_READ, 0, len);
	snap_run(t);
	request(t, SIM_GUEST_WRITE, 3, len / 2);
	snap_run(t);
}

static void take_one(struct snap_trial *t, const char *name, enum image_format format,
		     uint32_t cluster_len)
{
	struct snap_new one = { name, format, cluster_len };

	snap_take(t, &one, 1);
}

/* Of either format above the other. */
static void take_two(struct snap_trial *t, const char *const *names, bool is_qed)
{
	struct snap_new two[] = { { names[0], is_qed ? IMAGE_QCOW2 : IMAGE_QED, 4096 },
				  { names[1], is_qed ? IMAGE_QED : IMAGE_QCOW2, 4096 } };

	snap_take(t, two, ARRAY_LEN(two));
}

void snap_session_fixed(struct snap_trial *t, const char *const *names)
{
	uint64_t len = snap_disk_len(t);

	write_some(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	snap_run(t);
	/* These are on their way. */
	request(t, SIM_GUEST_WRITE, 700, len / 6);
	request(t, SIM_GUEST_WRITE, len / 3, len / 3);
	request(t, SIM_GUEST_READ, 0, len);
	take_one(t, names[0], IMAGE_QCOW2, 512);
	write_some(t);
	take_two(t, names + 1, t->chain->how.seed % 2);
	request(t, SIM_GUEST_WRITE, 100, len / 6);
	snap_run(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	request(t, SIM_GUEST_WRITE, len / 4 + 64, len / 4);
	snap_run(t);
	start_job(t);
	request(t, SIM_GUEST_READ, 0, len);
	request(t, SIM_GUEST_WRITE, len / 2, len / 12);
	snap_run(t);
	take_one(t, names[3], IMAGE_QCOW2, 1024);
	write_some(t);
	request(t, SIM_GUEST_READ, 0, len);
	snap_run(t);
}

/* ---- a drawn session ---- */

static uint64_t draw(struct snap_trial *t, uint64_t n)
{
	return random_below(&t->draws, n);
}

static void draw_request(struct snap_trial *t)
{
	static const enum sim_guest_kind kinds[] = {
		SIM_GUEST_WRITE, SIM_GUEST_WRITE, SIM_GUEST_WRITE,   SIM_GUEST_ZEROES,
		SIM_GUEST_READ,  SIM_GUEST_READ,  SIM_GUEST_DISCARD, SIM_GUEST_FLUSH,
	};
	struct sim_guest_request r = { .kind = kinds[draw(t, ARRAY_LEN(kinds))],
				       .value = ++t->base.value };

	if (t->base.guest.n_in_flight >= SIM_GUEST_MAX - 1 ||
	    t->base.guest.model.n_versions >= MODEL_MAX_VERSIONS - 1)
		return;
	if (r.kind != SIM_GUEST_FLUSH) {
		r.off = draw(t, snap_disk_len(t) - 1);
		r.len = 1 + draw(t, MIN(snap_disk_len(t) - r.off, snap_disk_len(t) / 3));
		r.cuts[0] = draw(t, r.len);
		r.cuts[1] = r.cuts[0] + draw(t, r.len - r.cuts[0]);
	}
	if (r.kind == SIM_GUEST_WRITE && !draw(t, 4))
		r.flags = BPULL_IO_FUA;
	sim_guest_submit(&t->base.guest, &r);
}

static void process_once(struct snap_trial *t)
{
	struct bpull_event event;

	if (bpull_engine_process(t->base.engine, &event, 1) == 1)
		snap_take_event(t, &event);
}

/* Nothing is in flight. */
static void open_again(struct snap_trial *t)
{
	struct model_flush flush;

	snap_run(t);
	if (t->base.may_fail)
		return;
	bpull_engine_close(t->base.engine);
	model_flush_begin(&t->base.guest.model, &flush);
	model_flush_end(&t->base.guest.model, &flush);
	cr_assert_eq(snap_open(t), 0);
}

/* Up to SNAP_AT_A_TIME by one call, now and then. */
static void draw_take(struct snap_trial *t, const char *const *names)
{
	static const uint32_t cluster_lens[] = { 512, 1024, 4096, 65536 };
	unsigned n = draw(t, 3) ? 1 : MIN(1 + draw(t, SNAP_AT_A_TIME), SNAP_MAX - t->n_taken);
	struct snap_new list[SNAP_AT_A_TIME];

	for (unsigned i = 0; i < n; i++) {
		bool is_qed = !draw(t, 4);

		list[i] =
			(struct snap_new){ names[t->n_taken + i], is_qed ? IMAGE_QED : IMAGE_QCOW2,
					   cluster_lens[2 * is_qed + draw(t, 2)] };
	}
	snap_take(t, list, n);
}

void snap_session_drawn(struct snap_trial *t, const char *const *names)
{
	for (unsigned i = 0; i < 150; i++) {
		uint64_t what = draw(t, 100);

		if (what < 50)
			draw_request(t);
		else if (what < 84)
			process_once(t);
		else if (what < 92 && t->n_taken < SNAP_MAX)
			draw_take(t, names);
		else if (what < 97 && !t->base.job_runs)
			start_job(t);
		else if (what == 99)
			open_again(t);
	}
	snap_run(t);
}
