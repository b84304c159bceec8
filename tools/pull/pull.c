/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The loop of blockpull pull. It runs any number of images on one engine, so
 * that they share one limit. By default one after another: a stop
 * then leaves finished images behind instead of many half-pulled ones, an image
 * may be the backing file of the next, and one pull keeps a disk busy already.
 * --jobs runs several at once.
 *
 * The loop is poll() on the engine's descriptor and the signals' one, as an
 * embedder's would be. bpull_engine_wait() was rejected: it hides the window in
 * which a signal arrives between looking for one and waiting.
 */
#include "tools/pull/pull.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tools/bases/describe.h"
#include "tools/cli/host_budget.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/cli/stop.h"
#include "tools/control/control.h"
#include "tools/control/jobs/jobs.h"
#include "tools/pull/late.h"
#include "tools/pull/metrics.h"
#include "tools/pull/outcome.h"
#include "tools/pull/servers.h"
#include "tools/words/exit_code.h"

#define PULL_EVENTS_MAX 16

struct pull {
	struct pull_options options;
	struct bases *bases; /* those of the options that were given */
	struct bpull_engine *engine;
	struct pull_image *images;
	unsigned n_images, next_idx, n_active, n_ended;
	bool aborted; /* the stop signal has been passed on */
	bool is_held; /* the next image waits for the end of one that runs */
	struct progress progress;
	struct budget *budget;   /* the host's, or NULL */
	struct control *control; /* of the one image, or NULL */
	struct metrics *metrics; /* or NULL */
	struct control_target target;
};

/* ---- Progress -------------------------------------------------------------- */

static struct progress_now pull_now(const struct pull *pull)
{
	struct progress_now now = { .name = "",
				    .n_active = pull->n_active,
				    .n_done = pull->n_ended };

	pull_images_add(pull->images, pull->next_idx, &now);
	servers_add(pull->bases, &now);
	return now;
}

static void pull_show_progress(struct pull *pull)
{
	bool wished = stop_take_report_wish();
	struct progress_now now;
	if (!wished && !progress_due(&pull->progress))
		return;
	now = pull_now(pull);
	if (wished && pull->n_active)
		progress_line(&pull->progress, &now);
	if (!progress_due(&pull->progress))
		return;
	if (pull->progress.mode == PROGRESS_JSON)
		pull_images_json(pull->images, pull->next_idx, &pull->progress, &now);
	progress_show(&pull->progress, &now);
}

/* They are never worth a pull: it goes on without. */
static void pull_warn_of_metrics(struct pull *pull, int rc)
{
	if (!rc)
		return;
	progress_clear(&pull->progress);
	say_note("warning: --metrics-file: '%s' can't be written: %s; the pull goes on without",
		 pull->options.metrics_file, strerror(-rc));
}

/* ---- The loop -------------------------------------------------------------- */

static void pull_report_end(struct pull *pull, struct pull_image *image)
{
	pull->n_ended++;
	progress_clear(&pull->progress);
	/* With --json the summary is the JSON. */
	pull_image_say(image, pull->options.line.quiet || pull->options.line.json);
	if (pull->options.line.json)
		pull_image_json(image, NULL, servers_json_total(pull->bases));
}

/* Of images that have files in common all but one wait, and those behind them: their order stays.
 * Where it is the limit on open files no more run at once from here on. */
static void pull_start_later(struct pull *pull, enum pull_wait wait)
{
	pull->next_idx--;
	pull->is_held = wait == PULL_WAIT_IMAGE;
	if (pull->is_held)
		return;
	pull->options.n_jobs = pull->n_active;
	if (!pull->options.line.quiet)
		say_note("note: the limit on open files (ulimit -n) allows %u images at once here, "
			 "not more",
			 pull->n_active);
}

static void pull_start_next(struct pull *pull)
{
	struct pull_image *image = &pull->images[pull->next_idx++];
	struct progress_now now;
	enum pull_wait wait;
	progress_clear(&pull->progress);
	image->quiet = pull->options.line.quiet;
	wait = pull_image_start(image, pull->engine, &pull->options.line.chain.disk,
				&pull->options.job, pull->n_active > 0);
	if (wait) {
		pull_start_later(pull, wait);
		return;
	}
	if (image->state == PULL_ENDED) {
		pull_report_end(pull, image);
		return;
	}
	pull->n_active++;
	pull->target.disk = image->disk;
	if (pull->control)
		control_job_started(&pull->target, &pull->options.job);
	now = pull_now(pull);
	progress_sample(&pull->progress, &now);
}

/* The job waits; so does the command, until it is told what to do. */
static void pull_say_stopped(struct pull *pull, const struct bpull_event *event)
{
	if (event->error == -EHOSTUNREACH && stop_signal())
		return; /* nothing waits for the server any more */
	progress_clear(&pull->progress);
	say_error("%s", event->message);
	if (event->error == -EHOSTUNREACH) {
		say_hint("the pull goes on by itself when the server is back; Ctrl-C ends it");
		return;
	}
	say_hint("kill -CONT %d goes on%s", (int)getpid(),
		 pull->control ? ", as 'blockpull ctl' does with resume" : "");
}

static void pull_say_resumed(struct pull *pull, const struct pull_image *image)
{
	if (pull->options.line.quiet)
		return;
	progress_clear(&pull->progress);
	say_note("%s: the server is back and the pull goes on", image->path);
}

static void pull_pass_go_on(struct pull *pull)
{
	if (!stop_take_go_on())
		return;
	for (unsigned i = 0; i < pull->next_idx; i++)
		pull_image_go_on(&pull->images[i]);
}

/* 0 or -errno of the engine, after which it is of no more use. */
static int pull_process(struct pull *pull)
{
	struct bpull_event events[PULL_EVENTS_MAX];
	int n = bpull_engine_process(pull->engine, events, PULL_EVENTS_MAX);
	for (int i = 0; i < n; i++) {
		struct pull_image *image = events[i].user_data;
		if (pull->control)
			control_event(pull->control, &events[i]);
		if (events[i].type == BPULL_EVENT_JOB_STOPPED)
			pull_say_stopped(pull, &events[i]);
		if (events[i].type == BPULL_EVENT_JOB_RESUMED)
			pull_say_resumed(pull, image);
		if (events[i].type != BPULL_EVENT_JOB || events[i].status == BPULL_JOB_READY)
			continue;
		pull->target.disk = NULL;
		pull_image_conclude(image, &events[i], stop_signal());
		pull->n_active--;
		pull->is_held = false;
		pull_report_end(pull, image);
	}
	return n < 0 ? n : 0;
}

/* Passes the first stop signal on to all that runs. */
static void pull_pass_stop(struct pull *pull)
{
	if (pull->aborted || !stop_signal())
		return;
	pull->aborted = true;
	progress_clear(&pull->progress);
	if (pull->n_active && !pull->options.line.quiet)
		say_note("stopping (%s)%s...", strsignal(stop_signal()),
			 pull->images[0].out ? "" : "; what was copied is being made durable");
	for (unsigned i = 0; i < pull->next_idx; i++) {
		if (pull->images[i].state == PULL_RUNNING)
			bpull_job_abort(pull->images[i].disk);
	}
	bases_give_up(pull->bases); /* behind the aborts: a job would pause for a lost server */
}

/* A client of the control socket may have aborted the job, which waits for no server then. */
static void pull_pass_abort(struct pull *pull)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	if (!pull->control || !pull->target.disk)
		return;
	bpull_job_get_info(pull->target.disk, &info);
	if (info.state == BPULL_JOB_STOPPING)
		bases_give_up(pull->bases);
}

/* Until the engine, a signal, a server or a client of the control socket has something to do, or
 * progress or metrics are due. */
static void pull_wait(struct pull *pull, int stop_fd)
{
	struct pollfd fds[3 + CONTROL_MAX_FDS] = {
		{ .fd = bpull_engine_fd(pull->engine), .events = POLLIN },
		{ .fd = stop_fd, .events = POLLIN },
		{ .fd = bases_fd(pull->bases), .events = POLLIN },
	};
	int n_fds = 3 + (pull->control ? control_poll_fds(pull->control, fds + 3) : 0);
	int wait_ms = progress_timeout_ms(&pull->progress);
	int metrics_ms = metrics_timeout_ms(pull->metrics);
	if (wait_ms < 0 || (metrics_ms >= 0 && metrics_ms < wait_ms))
		wait_ms = metrics_ms;
	if (poll(fds, n_fds, wait_ms) > 0 && fds[1].revents)
		stop_drain();
	if (pull->control)
		control_process(pull->control);
	pull_pass_abort(pull);
}

static int pull_loop(struct pull *pull, int stop_fd)
{
	while (pull->n_active || (pull->next_idx < pull->n_images && !stop_signal())) {
		int rc;

		while (pull->n_active < pull->options.n_jobs && pull->next_idx < pull->n_images &&
		       !pull->is_held && !stop_signal())
			pull_start_next(pull);
		pull_pass_stop(pull);
		pull_pass_go_on(pull);
		/* Before what came of them: a job stops because its server is lost. */
		servers_say_changes(pull->bases, &pull->progress, pull->options.line.quiet);
		rc = pull_process(pull);
		if (rc) {
			progress_clear(&pull->progress);
			say_error("the I/O engine failed: %s", strerror(-rc));
			return exit_code_of_error(rc);
		}
		host_budget_say(pull->budget);
		late_say(&pull->options, pull->images, pull->next_idx, &pull->progress);
		pull_show_progress(pull);
		pull_warn_of_metrics(pull, metrics_update(pull->metrics));
		if (pull->n_active)
			pull_wait(pull, stop_fd);
	}
	return 0;
}

static void pull_plan_all(struct pull *pull)
{
	for (; pull->next_idx < pull->n_images && !stop_signal(); pull->next_idx++) {
		struct pull_image *image = &pull->images[pull->next_idx];
		struct pull_plan plan;
		image->quiet = pull->options.line.quiet;
		pull_image_plan(image, pull->engine, &pull->options.line.chain.disk,
				&pull->options.job, &plan);
		if (image->code || !(pull->options.line.quiet || pull->options.line.json))
			pull_image_say_plan(image, &plan);
		if (pull->options.line.json)
			pull_image_json(image, &plan, servers_json_total(pull->bases));
	}
}

static struct json_object *pull_describe_servers(void *owner)
{
	return bases_describe(((struct pull *)owner)->bases);
}

static int pull_open_control(struct pull *pull, struct bpull_error *error)
{
	if (!pull->options.control || pull->options.dry_run)
		return 0;
	pull->target = (struct control_target){ .device = pull->images[0].path,
						.path = pull->images[0].path,
						.how = &pull->options.line.chain.disk,
						.job = pull->options.job,
						.others_refused =
							"The image stays the pull's: no other can "
							"take its place",
						.servers = pull_describe_servers,
						.budget = pull->budget,
						.owner = pull };
	return control_open(pull->options.control, &pull->target, &pull->control, error);
}

static void pull_open_reports(struct pull *pull)
{
	progress_open(&pull->progress,
		      pull->options.dry_run ? PROGRESS_NONE : pull->options.progress,
		      pull->options.engine.bandwidth + pull->options.job.bandwidth, pull->n_images);
	pull->progress.iops = pull->options.engine.iops;
	pull->progress.is_job_limit = pull->options.control;
	if (!pull->options.metrics_file || pull->options.dry_run)
		return;
	pull->metrics = metrics_open(pull->options.metrics_file, pull->images, pull->n_images);
	if (!pull->metrics)
		pull_warn_of_metrics(pull, -ENOMEM);
}

/* All images, on an engine that is open. Returns the exit code. */
static int pull_all(struct pull *pull, int stop_fd)
{
	int code = 0;
	pull_open_reports(pull);
	if (pull->options.dry_run)
		pull_plan_all(pull);
	else
		code = pull_loop(pull, stop_fd);
	progress_clear(&pull->progress);
	if (!code) {
		outcome_end_untried(pull->images, pull->n_images, stop_signal(),
				    pull->options.line.json);
		code = outcome_code(pull->images, pull->n_images, pull->options.list);
	}
	progress_close(&pull->progress, !code);
	pull_warn_of_metrics(pull, metrics_close(pull->metrics, code));
	return code;
}

static int pull_run(struct pull *pull)
{
	struct bpull_error error = { 0 };
	int stop_fd = stop_install();
	int code;
	int rc;

	if (stop_fd < 0) {
		say_error("signal handlers can't be installed: %s", strerror(-stop_fd));
		return EXIT_CODE_FAILED;
	}
	pull->bases->expects.stops = stop_signal;
	code = host_budget_open(pull->options.dry_run ? NULL : pull->options.host_budget,
				&pull->options.engine, &pull->budget);
	if (code)
		return code;
	rc = bpull_engine_open(&pull->options.engine, &pull->engine, &error);
	if (rc) {
		int failed = say_failed(&error, rc);
		if (rc == -ENOTSUP && pull->options.engine.io == BPULL_IO_URING)
			say_hint("use --io=threads, or leave --io out");
		return failed;
	}
	rc = pull_open_control(pull, &error);
	code = rc ? say_failed(&error, rc) : pull_all(pull, stop_fd);
	control_close(pull->control);
	bpull_engine_close(pull->engine);
	host_budget_close(pull->budget);
	return code;
}

int pull_images(struct pull_options *options, struct pull_image *images, unsigned n_images)
{
	struct pull pull = { .options = *options,
			     .bases = &options->line.chain.bases,
			     .images = images,
			     .n_images = n_images };
	struct pull_image *last = &images[n_images - 1];
	last->is_last = true;
	if (options->control || last->out)
		last->sandbox_names |= SANDBOX_UNLINK;
	if (last->out)
		last->sandbox_names |= SANDBOX_RENAME;
	if (options->metrics_file)
		last->sandbox_names |= SANDBOX_REPLACE;
	return pull_run(&pull);
}
