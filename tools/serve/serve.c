/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The server's life and its loop. One thread does all: the engine's completions,
 * the rings, the messages. While there is work it looks at rings and engine in
 * turn, without kicks; when there is none it asks for kicks, looks once more, and
 * sleeps.
 */
#include "tools/serve/serve.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tools/cli/host_budget.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/cli/stop.h"
#include "tools/clock/monotonic.h"
#include "tools/control/jobs/jobs.h"
#include "tools/serve/handover.h"
#include "tools/serve/image.h"
#include "tools/serve/job_note.h"
#include "tools/serve/link.h"
#include "tools/serve/port.h"
#include "tools/serve/servers.h"
#include "tools/serve/spin.h"
#include "tools/serve/steered.h"
#include "tools/serve/touched.h"
#include "tools/serve/watch.h"
#include "tools/vhost/guard.h"
#include "tools/words/exit_code.h"

#define LOOK_MS         200 /* states of a job that are no events are looked for, for clients */
#define POLLED_MS       1   /* a queue without kicks */
#define ROUNDS_A_LOOK   16  /* rounds between two looks at the descriptors */
#define MAX_DESCRIPTORS 16

struct serve {
	struct serve_options *options;
	struct port port;
	struct link link;
	int epoll_fd, stop_fd;
	struct control *control; /* or NULL */
	struct control_target target;
	struct steered steered;
	struct image image;
	struct bpull_job_options job; /* as the command line has it */
	char *base;                   /* of the job */
	struct handover handover;
	struct watch watch;
	struct spin spin;
};

/* ---- the job ---- */

static void serve_take_event(void *opaque, const struct bpull_event *event)
{
	struct serve *s = opaque;

	if (handover_take_event(&s->handover, event))
		return;
	if (s->control)
		control_event(s->control, event);
	job_note_event(s->port.disk, event, s->image.path, s->options->line.quiet);
}

static void serve_rings_stopped(void *opaque)
{
	handover_release(&((struct serve *)opaque)->handover);
}

/* ---- the loop ---- */

/* The machine can't be served before it has its disk. */
static bool serve_waits(const struct serve *s)
{
	return s->port.is_inactive && port_wants_disk(&s->port);
}

static bool serve_work(struct serve *s)
{
	bool any = false;

	if (serve_waits(s) && handover_take(&s->handover)) {
		any = true;
		if (s->port.is_held)
			link_process(&s->link); /* the message that was held */
	}
	any |= port_take_requests(&s->port);
	any |= port_take_events(&s->port);
	port_publish(&s->port);
	return any;
}

static int serve_timeout_ms(const struct serve *s)
{
	if (port_is_polled(&s->port))
		return POLLED_MS;
	if (serve_waits(s))
		return handover_wait_ms(&s->handover);
	return s->control && s->watch.n > 1 ? LOOK_MS : -1;
}

/* Waits at most so long for any descriptor, and does what the frontend and clients say. */
static void serve_look(struct serve *s, int timeout_ms)
{
	struct epoll_event events[MAX_DESCRIPTORS];
	int n = epoll_wait(s->epoll_fd, events, MAX_DESCRIPTORS, timeout_ms);
	uint64_t tags = 0;

	for (int i = 0; i < n; i++)
		tags |= events[i].data.u64;
	if (tags & TAG_STOP)
		stop_drain();
	if (tags & TAG_SERVERS)
		servers_tell(&s->options->line.chain.bases, s->options->line.quiet);
	host_budget_say(s->options->budget);
	touched_tell(&s->port);
	if (tags & TAG_FRONTEND)
		link_process(&s->link);
	if (s->control && (tags & TAG_CONTROL || n <= 0)) {
		control_process(s->control);
		watch_update(&s->watch, s->control);
	}
	if (guard_take_hit()) {
		say_error("the frontend's memory has become shorter: the connection is ended");
		link_drop(&s->link);
	}
}

/* The kernel's thread that writes the guest's bytes may have no core but ours. It gets the core
 * once, so that more requests have ended when the guest is told. True: there is work. */
static bool serve_yield_core(struct serve *s, uint64_t began)
{
	if (!s->port.n_in_flight)
		return false;
	sched_yield();
	spin_looked(&s->spin, monotonic_ns() - began);
	return serve_work(s);
}

/* There is no work: looks for some a moment longer, then sleeps until there may be some. */
static void serve_idle(struct serve *s)
{
	uint64_t began = monotonic_ns(), until = began + s->spin.ns, now = began, before;

	if (!spin_take_look(&s->spin))
		until = began;
	if (until > began && serve_yield_core(s, began))
		return;
	port_tell(&s->port);
	while (now < until) {
		if (serve_work(s))
			return;
		before = now;
		if (s->port.n_in_flight)
			sched_yield();
		now = monotonic_ns();
		spin_looked(&s->spin, now - before);
	}
	bpull_engine_fd(s->port.engine); /* the descriptor tells of what ends from here on */
	serve_look(s, port_listen(&s->port) ? 0 : serve_timeout_ms(s));
	port_ignore(&s->port);
	until = monotonic_ns();
	spin_learn(&s->spin, until - began, until - now);
}

static void serve_loop(struct serve *s)
{
	unsigned n_rounds = 0;

	while (!stop_signal() && !s->link.is_over) {
		if (!serve_work(s))
			serve_idle(s);
		if (++n_rounds % ROUNDS_A_LOOK == 0) {
			port_tell(&s->port); /* one queue's work must not keep another's ends */
			serve_look(s, 0);
		}
	}
}

/* ---- start and end ---- */

static int serve_open_disk(struct serve *s, struct bpull_error *error)
{
	const struct serve_options *o = s->options;
	struct image_look look;
	int rc = image_open(&s->image, o->image, &o->line.chain.disk, &look, error);

	if (!rc)
		rc = bpull_disk_open(s->port.engine, o->image, &o->line.chain.disk, &s->port.disk,
				     error);
	if (!rc)
		rc = fd_map_judge(&o->line.chain.disk, error);
	if (rc)
		return rc;
	s->port.is_inactive = o->incoming;
	s->port.geometry = (struct blk_geometry){ .len = bpull_disk_size(s->port.disk),
						  .cluster_len = look.cluster_len,
						  .n_queues = o->n_queues,
						  .read_only = o->read_only,
						  .can_discard = look.can_discard };
	s->port.serial = o->serial ? o->serial : image_serial(o->image);
	if (record_begin(&s->port.record, s->port.geometry.len, RECORD_KEEP_NS))
		return -ENOMEM;
	durable_open(&s->port.durable, s->port.geometry.len, look.granule);
	if (look.granule && !look.has_snapshots && !o->read_only)
		image_note_durable(s->port.disk, &s->port.durable, IMAGE_NOTE_NS);
	if (bpull_disk_warning(s->port.disk))
		say_note("warning: %s", bpull_disk_warning(s->port.disk));
	if (!o->line.quiet)
		say_disk_hint(bpull_disk_hint(s->port.disk));
	return 0;
}

static int serve_open_control(struct serve *s, struct bpull_error *error)
{
	s->steered =
		(struct steered){ .port = &s->port, .image = &s->image, .options = s->options };
	s->target = steered_target(&s->steered, &s->job);
	s->watch = (struct watch){ .epoll_fd = s->epoll_fd };
	return s->options->control
		       ? control_open(s->options->control, &s->target, &s->control, error)
		       : 0;
}

static int serve_start_job(struct serve *s, struct bpull_error *error)
{
	int rc;

	if (!s->options->pull)
		return 0;
	touched_note_first(s->options, s->port.disk);
	if (s->port.is_inactive) {
		handover_put_off(&s->handover, &s->job);
		return 0;
	}
	rc = bpull_job_start(s->port.disk, &s->job, error);
	if (!rc && bpull_disk_note(s->port.disk))
		say_note("'%s': %s", s->options->image, bpull_disk_note(s->port.disk));
	if (!rc && s->control)
		control_job_started(&s->target, &s->job);
	return rc;
}

static int serve_open_job(struct serve *s, struct bpull_error *error)
{
	int rc = 0;

	s->job = s->options->job;
	if (s->job.base)
		rc = image_base_name(&s->image, s->port.disk, s->job.base, &s->base, error);
	if (rc && s->options->pull)
		return rc;
	if (!rc)
		s->job.base = s->base;
	rc = serve_open_control(s, error);
	s->handover = (struct handover){ .port = &s->port,
					 .target = &s->target,
					 .image = &s->image,
					 .job = s->job,
					 .has_clients = s->control };
	return rc ? rc : serve_start_job(s, error);
}

static int serve_open_epoll(struct serve *s)
{
	struct epoll_event engine = { .events = EPOLLIN, .data.u64 = TAG_WORK };
	struct epoll_event stop = { .events = EPOLLIN, .data.u64 = TAG_STOP };

	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0 || guard_install() ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, bpull_engine_fd(s->port.engine), &engine) ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->stop_fd, &stop))
		return -errno;
	return 0;
}

static int serve_open(struct serve *s, struct bpull_error *error)
{
	const struct serve_options *o = s->options;
	int rc = record_open(&s->port.record, o->trace, error->message);

	if (!rc)
		rc = fence_close(o, error);
	if (!rc)
		rc = bpull_engine_open(&o->engine, &s->port.engine, error);
	if (!rc)
		rc = serve_open_epoll(s);
	if (!rc)
		rc = servers_watch(&s->options->line.chain.bases, s->epoll_fd);
	if (!rc)
		rc = serve_open_disk(s, error);
	if (!rc)
		rc = serve_open_job(s, error);
	if (!rc)
		rc = link_open(&s->link, &s->port, s->epoll_fd, o->socket_path, o->fd, error);
	if (!rc && s->control)
		watch_update(&s->watch, s->control);
	return rc;
}

/* What the guest was told is done is durable when we end, whatever it has flushed. */
static int serve_flush(struct serve *s)
{
	return s->port.disk && !s->options->read_only ? port_flush(&s->port) : 0;
}

static int serve_close(struct serve *s)
{
	int rc;

	link_close(&s->link);
	touched_end(&s->port);
	rc = serve_flush(s);
	if (rc)
		say_error("'%s': what was written last could not be made durable: %s",
			  s->image.path, strerror(-rc));
	s->target.disk = NULL;
	control_close(s->control);
	bpull_disk_close(s->port.disk);
	bpull_engine_close(s->port.engine);
	durable_close(&s->port.durable);
	image_close(&s->image);
	free(s->base);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	return rc ? exit_code_of_error(rc) : EXIT_CODE_DONE;
}

/* What the server may still do to names of files when the sandbox is closed. */
static unsigned serve_names(const struct serve_options *options)
{
	return SANDBOX_UNLINK | SANDBOX_GUEST | (options->trace ? SANDBOX_REPLACE : 0) |
	       (options->fence.n ? SANDBOX_CONFINED | SANDBOX_RENAME : 0);
}

int serve_run(struct serve_options *options)
{
	struct serve s = { .options = options,
			   .epoll_fd = -1,
			   .image.fd = -1,
			   .link = { .listen_fd = -1, .channel.fd = -1 } };
	struct bpull_error error = { 0 };
	int rc;

	s.port.other_event = serve_take_event;
	s.port.rings_stopped = serve_rings_stopped;
	s.port.opaque = &s;
	s.stop_fd = stop_install();
	if (s.stop_fd < 0) {
		say_error("signal handlers can't be installed: %s", strerror(-s.stop_fd));
		return EXIT_CODE_FAILED;
	}
	options->line.chain.bases.expects.stops = stop_signal;
	rc = serve_open(&s, &error);
	if (rc == -EINTR && stop_signal()) /* as in the loop */
		return serve_close(&s);
	if (rc) {
		serve_close(&s);
		return say_failed(&error, rc);
	}
	sandbox_enter(serve_names(options));
	serve_loop(&s);
	return serve_close(&s);
}
