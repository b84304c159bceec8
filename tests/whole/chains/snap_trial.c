/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See snap_trial.h. */
#include "tests/whole/chains/snap_trial.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "engine/api/engine.h"
#include "tests/machine/files/sim_private.h"
#include "tests/support/random.h"

#define MAX_CALLS   100000
#define MAX_WAIT_MS 10000

static void pause_oom(const struct snap_trial *t)
{
	if (t->pause)
		t->pause();
}

static void resume_oom(const struct snap_trial *t)
{
	if (t->resume)
		t->resume();
}

static unsigned count_files(const struct sim *sim)
{
	unsigned n = 0;

	for (const struct sim_file *file = sim->files; file; file = file->next)
		n += !file->is_removed;
	return n;
}

static uint64_t disk_len(const struct snap_trial *t)
{
	return t->chain->guest_len;
}

/* ---- events ---- */

static void take_event(struct snap_trial *t, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_IO) {
		cr_assert(!event->error || t->may_fail, "%s: a request fails: %s", t->what,
			  strerror(-event->error));
		t->n_failed += event->error != 0;
		cr_assert(sim_guest_end(&t->guest, event), "%s: %s", t->what, t->guest.wrong);
	} else {
		if (event->type != BPULL_EVENT_JOB || event->status == BPULL_JOB_READY)
			return;
		t->job_runs = false;
		t->completed = event->status == BPULL_JOB_COMPLETED;
		t->job.is_stale = t->completed && event->message[0];
		cr_assert(!t->job.is_stale || t->may_fail, "%s: %s", t->what, event->message);
		t->n_failed += !t->completed;
		cr_assert(t->completed || t->may_fail, "%s: the pull: %s", t->what, event->message);
	}
}

static void run(struct snap_trial *t)
{
	for (unsigned i = 0; t->guest.n_in_flight || t->job_runs; i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(t->engine), .events = POLLIN };
		struct bpull_event event;
		int n = bpull_engine_process(t->engine, &event, 1);

		cr_assert_geq(n, 0);
		if (n)
			take_event(t, &event);
		else
			cr_assert(i < MAX_CALLS && poll(&ready, 1, MAX_WAIT_MS) == 1,
				  "%s: it hangs", t->what);
	}
}

static void request_to(struct snap_trial *t, enum sim_guest_kind kind, uint64_t off, uint64_t len,
		       uint8_t *out)
{
	struct sim_guest_request r = {
		.kind = kind,
		.off = off,
		.len = len,
		.cuts = { len / 3, len / 2 },
		.value = ++t->value,
		.out = out,
	};

	pause_oom(t);
	sim_guest_submit(&t->guest, &r);
	resume_oom(t);
}

static void request(struct snap_trial *t, enum sim_guest_kind kind, uint64_t off, uint64_t len)
{
	request_to(t, kind, off, len, NULL);
}

/* ---- snapshots ---- */

/* What was over is durable, and the image below holds what the disk reads now. */
static void note_taken(struct snap_trial *t)
{
	struct snap_head *below = &t->heads[t->n_taken];
	unsigned n_failed = t->n_failed;
	struct model_flush flush;

	run(t); /* events of requests that ended before it */
	pause_oom(t);
	model_flush_begin(&t->guest.model, &flush);
	model_flush_end(&t->guest.model, &flush);
	resume_oom(t);
	pause_oom(t);
	below->held = sim_need(malloc(disk_len(t)));
	resume_oom(t);
	below->is_exact = !n_failed;
	request_to(t, SIM_GUEST_READ, 0, disk_len(t), below->held);
	run(t);
	if (t->n_failed != n_failed) {
		free(below->held);
		below->held = NULL;
	}
	t->n_taken++;
	t->n_files++;
}

static void note_refused(struct snap_trial *t, const char *name, const struct bpull_error *error)
{
	cr_assert(t->may_fail || (t->job_runs && error->code == -EBUSY), "%s: no snapshot: %s",
		  t->what, error->message);
	cr_assert(error->message[0], "%s: no sentence", t->what);
	t->n_failed += error->code != -EBUSY;
	if (sim_is_stopped(t->sim))
		return;
	if (!t->may_leave)
		cr_assert_eq(count_files(t->sim), t->n_files, "%s: '%s' was left, or its beginning",
			     t->what, name);
	t->n_files = count_files(t->sim);
}

static void take_snapshot(struct snap_trial *t, const char *name, enum image_format format,
			  uint32_t cluster_len)
{
	struct bpull_create_options create = { .size = sizeof(create),
					       .format = (enum bpull_format)format,
					       .cluster_size = cluster_len };
	struct bpull_snapshot s = {
		.size = sizeof(s), .disk = t->guest.disk, .path = name, .create = &create
	};
	struct snap_head head = { .name = name, .format = format };
	struct bpull_error error;
	int rc;

	if (sim_is_stopped(t->sim)) /* the one before it may have been on its way */
		return;
	t->trying = head;
	rc = bpull_disk_snapshot(&s, 1, &error);
	if (rc) {
		note_refused(t, name, &error);
		if (!sim_is_stopped(t->sim))
			t->trying.name = NULL;
		return;
	}
	t->heads[t->n_taken + 1] = head;
	t->trying.name = NULL;
	note_taken(t);
	cr_assert(sim_is_stopped(t->sim) || count_files(t->sim) == t->n_files,
		  "%s: a file was left", t->what);
}

/* ---- the session ---- */

static void start_job(struct snap_trial *t)
{
	struct bpull_job_options o = { .size = sizeof(o) };
	struct bpull_error error;
	int rc = bpull_job_start(t->guest.disk, &o, &error);

	cr_assert(!rc || t->may_fail, "%s: no pull: %s", t->what, error.message);
	t->job_runs = !rc;
	t->n_failed += rc != 0;
}

static void write_some(struct snap_trial *t)
{
	uint64_t len = disk_len(t);

	request(t, SIM_GUEST_WRITE, len / 4, len / 8);
	request(t, SIM_GUEST_ZEROES, len / 2 + 300, len / 8);
	run(t);
	request(t, SIM_GUEST_DISCARD, len / 8, len / 4);
	request(t, SIM_GUEST_WRITE, len - 1000, 900);
	run(t);
}

/* NULL: none. */
static const char *file_name(const struct snap_trial *t, unsigned depth)
{
	return depth && depth < t->chain->n_files ? t->chain->files[depth].name : NULL;
}

static void start_chain_job(struct snap_trial *t)
{
	struct bpull_job_options o = {
		.size = sizeof(o),
		.type = t->job.kind == SNAP_COMMIT ? BPULL_JOB_TYPE_COMMIT : BPULL_JOB_TYPE_PULL,
		.top = file_name(t, t->job.top),
		.base = file_name(t, t->job.base),
	};
	struct bpull_error error;
	int rc = bpull_job_start(t->guest.disk, &o, &error);

	t->job.was_refused = rc == -ENOTSUP || rc == -EINVAL;
	cr_assert(!rc || t->may_fail || t->job.was_refused, "%s: no job: %s", t->what,
		  error.message);
	t->job_runs = !rc;
	t->n_failed += rc != 0;
}

/* The guest works before the job, beside it, and behind it. */
static void job_session(struct snap_trial *t)
{
	uint64_t len = disk_len(t);

	write_some(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	run(t);
	request(t, SIM_GUEST_WRITE, 700, len / 6);
	start_chain_job(t);
	for (unsigned i = 0; i < 6 && t->job_runs; i++) {
		struct bpull_event event;

		request(t, i % 3 == 2 ? SIM_GUEST_DISCARD : SIM_GUEST_WRITE, i * len / 7, len / 9);
		request(t, SIM_GUEST_READ, len / 5, len / 2);
		for (unsigned n = 0; n < 40 && t->guest.n_in_flight; n++)
			if (bpull_engine_process(t->engine, &event, 1) == 1)
				take_event(t, &event);
	}
	run(t);
	write_some(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	request(t, SIM_GUEST_READ, 0, len);
	run(t);
	request(t, SIM_GUEST_WRITE, 3, len / 2);
	run(t);
}

static void session(struct snap_trial *t, const char *const *names)
{
	uint64_t len = disk_len(t);

	write_some(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	run(t);
	/* These are on their way. */
	request(t, SIM_GUEST_WRITE, 700, len / 6);
	request(t, SIM_GUEST_WRITE, len / 3, len / 3);
	request(t, SIM_GUEST_READ, 0, len);
	take_snapshot(t, names[0], IMAGE_QCOW2, 512);
	write_some(t);
	take_snapshot(t, names[1], t->chain->how.seed % 2 ? IMAGE_QED : IMAGE_QCOW2, 4096);
	request(t, SIM_GUEST_WRITE, 100, len / 6);
	run(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	request(t, SIM_GUEST_WRITE, len / 4 + 64, len / 4);
	run(t);
	start_job(t);
	request(t, SIM_GUEST_READ, 0, len);
	request(t, SIM_GUEST_WRITE, len / 2, len / 12);
	run(t);
	take_snapshot(t, names[2], IMAGE_QCOW2, 1024);
	write_some(t);
	request(t, SIM_GUEST_READ, 0, len);
	run(t);
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
				       .value = ++t->value };

	if (t->guest.n_in_flight >= SIM_GUEST_MAX - 1 ||
	    t->guest.model.n_versions >= MODEL_MAX_VERSIONS - 1)
		return;
	if (r.kind != SIM_GUEST_FLUSH) {
		r.off = draw(t, disk_len(t) - 1);
		r.len = 1 + draw(t, MIN(disk_len(t) - r.off, disk_len(t) / 3));
		r.cuts[0] = draw(t, r.len);
		r.cuts[1] = r.cuts[0] + draw(t, r.len - r.cuts[0]);
	}
	if (r.kind == SIM_GUEST_WRITE && !draw(t, 4))
		r.flags = BPULL_IO_FUA;
	sim_guest_submit(&t->guest, &r);
}

static void process_once(struct snap_trial *t)
{
	struct bpull_event event;

	if (bpull_engine_process(t->engine, &event, 1) == 1)
		take_event(t, &event);
}

static int open_disk(struct snap_trial *t);

/* Nothing is in flight. */
static void open_again(struct snap_trial *t)
{
	struct model_flush flush;

	run(t);
	if (t->may_fail)
		return;
	bpull_engine_close(t->engine);
	model_flush_begin(&t->guest.model, &flush);
	model_flush_end(&t->guest.model, &flush);
	cr_assert_eq(open_disk(t), 0);
}

static void drawn_session(struct snap_trial *t, const char *const *names)
{
	static const uint32_t cluster_lens[] = { 512, 1024, 4096, 65536 };

	for (unsigned i = 0; i < 150; i++) {
		uint64_t what = draw(t, 100);
		bool is_qed = !draw(t, 4);

		if (what < 50)
			draw_request(t);
		else if (what < 84)
			process_once(t);
		else if (what < 92 && t->n_taken < SNAP_MAX)
			take_snapshot(t, names[t->n_taken], is_qed ? IMAGE_QED : IMAGE_QCOW2,
				      cluster_lens[2 * is_qed + draw(t, 2)]);
		else if (what < 97 && !t->job_runs)
			start_job(t);
		else if (what == 99)
			open_again(t);
	}
	run(t);
}

static int open_disk(struct snap_trial *t)
{
	const struct sim_chain *chain = t->chain;
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)t->heads[t->n_taken].format,
		.backing_trust = BPULL_TRUST_ALL, /* QED records no format but raw */
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ * (chain->how.seed % 3 == 0),
	};
	struct io *io = sim_io(t->sim);
	struct file_opener *opener = sim_opener(t->sim);
	struct bpull_error error;
	int rc = engine_open_on(t->wrap_io ? t->wrap_io(io) : io,
				t->wrap_opener ? t->wrap_opener(opener) : opener, SIM_PULL_MEMORY,
				&t->engine);

	if (rc)
		return rc;
	rc = bpull_disk_open(t->engine, t->heads[t->n_taken].name, &o, &t->guest.disk, &error);
	cr_assert(!rc || t->may_fail, "%s: it does not open: %s", t->what, error.message);
	if (rc)
		bpull_engine_close(t->engine);
	return rc;
}

static const char *const *session_names;

void snap_trial_begin(struct snap_trial *t, const struct sim_chain *chain, const uint8_t *first,
		      const char *const *names)
{
	t->chain = chain;
	t->heads[0].name = t->first_name ? t->first_name : SIM_CHAIN_TOP;
	t->heads[0].format = t->first_name ? t->first_format : chain->how.format;
	t->n_files = count_files(t->sim);
	session_names = names;
	model_begin(&t->guest.model, first, chain->guest_len);
}

int snap_trial_live(struct snap_trial *t)
{
	int rc = open_disk(t);

	if (rc)
		return rc;
	if (t->job.kind)
		job_session(t);
	else if (t->draws)
		drawn_session(t, session_names);
	else
		session(t, session_names);
	bpull_engine_close(t->engine);
	return 0;
}

void snap_trial_end(struct snap_trial *t)
{
	model_end(&t->guest.model);
	for (unsigned i = 0; i <= SNAP_MAX; i++)
		free(t->heads[i].held);
}

/* ---- what is left ---- */

static void read_head(const struct snap_trial *t, struct sim *left, const struct snap_head *head,
		      const char *when, uint8_t *got)
{
	struct sim_verdict v;

	cr_assert(sim_file_exists(left, head->name), "%s, %s: '%s' is not there", t->what, when,
		  head->name);
	sim_pull_read_head(t->chain, left, head->name, head->format, got, &v);
	cr_assert(v.ok, "%s, %s: '%s': %s", t->what, when, head->name, v.text);
}

static void judge_old_heads(const struct snap_trial *t, struct sim *left, const char *when,
			    bool now, uint8_t *got)
{
	for (unsigned i = 0; i < t->n_taken; i++) {
		const struct snap_head *head = &t->heads[i];

		if (!head->held || (!head->is_exact && !now))
			continue;
		read_head(t, left, head, when, got);
		for (uint64_t at = 0; at < disk_len(t); at++)
			cr_assert_eq(got[at], head->held[at],
				     "%s, %s: '%s' at %" PRIu64 " is %#x, and was %#x", t->what,
				     when, head->name, at, got[at], head->held[at]);
	}
}

static enum image_format format_of(struct sim *left, const char *name)
{
	char magic[4];

	sim_file_peek(left, name, magic, sizeof(magic), 0);
	if (!memcmp(magic, "QFI\xfb", 4))
		return IMAGE_QCOW2;
	return memcmp(magic, "QED", 4) ? IMAGE_RAW : IMAGE_QED;
}

/* The file that the image was committed into is the disk, too. */
static void judge_new_image(const struct snap_trial *t, struct sim *left, const char *when,
			    uint8_t *got)
{
	struct snap_head head = { .name = file_name(t, t->job.base) };
	uint64_t bad;

	if (t->job.kind != SNAP_COMMIT || t->job.top || !t->completed)
		return;
	head.format = format_of(left, head.name);
	if (head.format == IMAGE_RAW)
		sim_file_peek(left, head.name, got, disk_len(t), 0);
	else
		read_head(t, left, &head, when, got);
	bad = model_illegal_after_cut(&t->guest.model, got);
	cr_assert_eq(bad, disk_len(t), "%s, %s: '%s' at %" PRIu64 " is %#x, which it may not be",
		     t->what, when, head.name, bad, bad < disk_len(t) ? got[bad] : 0);
}

void snap_trial_judge(const struct snap_trial *t, struct sim *left, const char *when, bool now)
{
	uint8_t *got = sim_need(malloc(disk_len(t))), *tried = sim_need(malloc(disk_len(t)));
	const struct snap_head *head = &t->heads[t->n_taken];
	uint64_t bad;

	read_head(t, left, head, when, got);
	bad = t->job.is_stale ? disk_len(t) : model_illegal_after_cut(&t->guest.model, got);
	cr_assert_eq(bad, disk_len(t), "%s, %s: '%s' at %" PRIu64 " is %#x, which it may not be",
		     t->what, when, head->name, bad, bad < disk_len(t) ? got[bad] : 0);
	/* One whose call did not return may be there, and is then as good a head. */
	if (t->trying.name && sim_file_exists(left, t->trying.name)) {
		read_head(t, left, &t->trying, when, tried);
		cr_assert_arr_eq(tried, got, disk_len(t), "%s, %s: '%s' reads otherwise", t->what,
				 when, t->trying.name);
	}
	judge_old_heads(t, left, when, now, got);
	judge_new_image(t, left, when, got);
	free(got);
	free(tried);
}

void snap_trial_judge_cuts(const struct snap_trial *t, const char *when, uint64_t seed)
{
	static const struct sim_cut cuts[] = {
		{ .mode = SIM_CUT_NONE },
		{ .mode = SIM_CUT_ALL_LOST },
		{ .mode = SIM_CUT_ALL_KEPT },
		{ .mode = SIM_CUT_ONLY_FIRST },
		{ .mode = SIM_CUT_ONLY_LAST },
		{ .mode = SIM_CUT_ALL_BUT },
		{ .mode = SIM_CUT_RANDOM },
		{ .mode = SIM_CUT_RANDOM },
		{ .mode = SIM_CUT_ALL_LOST, .names = SIM_NAMES_NEW },
	};

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct sim_cut cut = cuts[i];
		struct sim *left;

		cut.seed = seed * ARRAY_LEN(cuts) + i;
		left = sim_cut(t->sim, &cut);
		snap_trial_judge(t, left, when, cut.mode == SIM_CUT_NONE);
		sim_free(left);
	}
}

void snap_trial_again(const struct snap_trial *t)
{
	static const char *const names[] = { "/again-1", "/again-2", "/again-3" };
	const struct snap_head *head = &t->heads[t->n_taken];
	struct snap_trial again = { .sim = t->sim,
				    .first_name = head->name,
				    .first_format = head->format };
	uint8_t *first = sim_need(malloc(disk_len(t)));

	snprintf(again.what, sizeof(again.what), "again, %.140s", t->what);
	snap_trial_begin(&again, t->chain, first, names);
	read_head(t, t->sim, head, "before it goes on", first);
	cr_assert_eq(snap_trial_live(&again), 0, "%s", again.what);
	cr_assert_eq(again.n_taken, SNAP_FIXED, "%s", again.what);
	snap_trial_judge(&again, t->sim, "at the end", true);
	snap_trial_end(&again);
	free(first);
}
