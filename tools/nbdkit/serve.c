/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the plugin serves, from nbdkit's first process to its end: first it is
 * tried, then, behind the fork, opened. A monitor thread takes the job's events
 * and the control socket's requests; the engine has its own.
 */
#define NBDKIT_API_VERSION 2

#include "tools/nbdkit/serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#include "tools/bases/describe.h"
#include "tools/budget/attach.h"
#include "tools/control/control.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/wire/socket.h"
#include "tools/nbdkit/advice.h"
#include "tools/nbdkit/config.h"
#include "tools/nbdkit/start.h"
#include "tools/trace/record.h"

#define LOOK_MS   200
#define BUDGET_MS 1000 /* between two looks at a budget's file */
#define TRACE_MS  10000
#define N_OWN_FDS 3 /* descriptors that the monitor waits for, but the control socket's */

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static bool can_discard;
static pthread_t monitor;
static int quit_fd = -1;
static struct control *control;
static struct record record = { .file.dir_fd = -1 };
static struct control_target target;
static struct budget *budget; /* NULL: no host-budget= */
/* A client of the control socket may name any file that this process may open. */
static const struct bpull_disk_options others = { .size = sizeof(others) };

static const char *serve_job_word(enum bpull_job_status status)
{
	switch (status) {
	case BPULL_JOB_COMPLETED: return "completed";
	case BPULL_JOB_FAILED: return "failed";
	case BPULL_JOB_CANCELED: return "canceled";
	case BPULL_JOB_READY: return "ready to drop the link";
	}
	return "changed";
}

static void serve_tell(const struct bpull_event *event)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	const char *job;

	bpull_job_get_info(disk, &info);
	job = info.type == BPULL_JOB_TYPE_PULL ? "pull" : "commit";
	if (event->type == BPULL_EVENT_JOB_STOPPED)
		nbdkit_error("%s stopped: %s", job, event->message);
	else if (event->type == BPULL_EVENT_JOB && event->status == BPULL_JOB_FAILED)
		nbdkit_error("%s failed: %s", job, event->message);
	else if (event->type == BPULL_EVENT_JOB)
		nbdkit_debug("%s %s", job, serve_job_word(event->status));
}

/* What clients see of a lost server is a disk that is slow, and then errors. */
static void serve_tell_servers(void)
{
	struct bpull_nbd_source source;
	enum bpull_nbd_state before;

	while (bases_next_change(&plugin_config.bases, &source, &before)) {
		const char *word = bases_state_word(source.state);

		if (source.state == BPULL_NBD_AWAY || source.state == BPULL_NBD_GONE ||
		    source.state == BPULL_NBD_RECONNECTING)
			nbdkit_error("%s: %s: %s", source.uri, word, source.message);
		else if (before == BPULL_NBD_AWAY || before == BPULL_NBD_RECONNECTING)
			nbdkit_error("%s: %s again", source.uri, word);
	}
}

static void serve_tell_trace(void)
{
	char why[TRACE_WHY_CAP];

	if (record_take_complaint(&record, why))
		nbdkit_error("warning: %s; the next try follows", why);
}

static void serve_tell_budget(void)
{
	const char *complaint = budget ? budget_complaint(budget) : NULL;

	if (complaint)
		nbdkit_error("warning: host-budget: %s", complaint);
}

/* States that are no events (paused, committing) are looked for while a client listens. */
static int serve_wait_ms(bool has_client)
{
	if (has_client)
		return LOOK_MS;
	if (budget)
		return BUDGET_MS;
	return record.recorder ? TRACE_MS : -1;
}

/* Takes the job's events until it is told to quit. */
static void *serve_watch_job(void *opaque)
{
	struct pollfd fds[N_OWN_FDS + CONTROL_MAX_FDS] = {
		{ .fd = bpull_engine_fd(engine), .events = POLLIN },
		{ .fd = quit_fd, .events = POLLIN },
		{ .fd = bases_fd(&plugin_config.bases), .events = POLLIN },
	};

	(void)opaque;
	while (!fds[1].revents) {
		struct bpull_event events[4];
		int n = bpull_engine_process(engine, events, 4), n_fds = N_OWN_FDS;

		for (int i = 0; i < n; i++) {
			if (control)
				control_event(control, &events[i]);
			serve_tell(&events[i]);
		}
		if (n > 0)
			continue;
		serve_tell_servers();
		serve_tell_budget();
		serve_tell_trace();
		if (control)
			n_fds += control_poll_fds(control, fds + N_OWN_FDS);
		poll(fds, n_fds, serve_wait_ms(n_fds > N_OWN_FDS + 1));
		if (control)
			control_process(control);
	}
	return NULL;
}

/* What can be discarded depends on the format, which only the image says. */
static int serve_ask_format(void)
{
	struct bpull_disk_options o = plugin_config.disk;
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	struct bpull_error error;

	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING | BPULL_DISK_FORCE_SHARE;
	o.n_backing_formats = 0; /* of files that are not opened here */
	if (bpull_info_open(plugin_config.image, &o, &info, &error)) {
		plugin_complain(&error);
		return -1;
	}
	bpull_info_layer(info, 0, &layer);
	if (layer.format == BPULL_FORMAT_RAW && plugin_config.disk.format != BPULL_FORMAT_RAW) {
		nbdkit_error(
			"%s looks raw, but a guest may have made it look so; say format=raw to "
			"serve it",
			plugin_config.image);
		bpull_info_close(info);
		return -1;
	}
	can_discard =
		layer.format == BPULL_FORMAT_RAW ||
		(layer.format == BPULL_FORMAT_QCOW2 && layer.version >= 3 && !layer.data_file_raw);
	bpull_info_close(info);
	return 0;
}

/* Opened as it will be, but for the audit, which may write. */
static int serve_try_image(struct bpull_engine *trial, struct bpull_error *error)
{
	struct bpull_disk_options o = plugin_config.disk;
	struct bpull_job_options job = plugin_config.job;
	char note[FIRST_NOTE_CAP];
	struct bpull_disk *opened;
	int rc;

	if (!(o.flags & BPULL_DISK_READ_ONLY) && o.format != BPULL_FORMAT_RAW)
		o.flags &= ~(uint32_t)(BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ);
	rc = bpull_disk_open(trial, plugin_config.image, &o, &opened, error);
	if (rc)
		return rc;
	if (bpull_disk_warning(opened))
		nbdkit_error("%s", bpull_disk_warning(opened));
	if (bpull_disk_hint(opened))
		nbdkit_error("note: %s; if you know better: holes=trust", bpull_disk_hint(opened));
	if (first_note(&plugin_config.job, bpull_disk_size(opened), note))
		nbdkit_error("note: %s", note);
	job.guest_p99_ns = 0; /* the disk has no guest yet */
	return plugin_config.pull ? bpull_job_check(opened, &job, error) : 0;
}

/* When all that will be opened was opened once. */
static void serve_try_names(void)
{
	const char *name;
	size_t at = 0;

	while ((name = bases_unused_map(&plugin_config.bases, &at)))
		nbdkit_error("warning: map-backing: no image names '%s'; see blockpull info "
			     "--chain",
			     name);
}

static int serve_try_control(struct bpull_error *error)
{
	return plugin_config.control ? control_try(plugin_config.control, error) : 0;
}

static int serve_open_record(void)
{
	char why[TRACE_WHY_CAP];
	int rc = record_open(&record, plugin_config.trace, why);

	if (rc)
		nbdkit_error("trace: %s", why);
	return rc;
}

/* Its place among those that share it is the descriptor's, and so the child's behind the fork. */
static int serve_open_budget(void)
{
	char why[BUDGET_WHY_CAP];
	int rc = plugin_config.host_budget ? budget_attach(plugin_config.host_budget,
							   &plugin_config.engine, &budget, why)
					   : 0;

	if (rc)
		nbdkit_error("host-budget: %s", why);
	return rc;
}

/* Threads do not survive nbdkit's fork into the background, so all begins behind it. What can be
 * known to be wrong is found before: nbdkit has made no socket and no file yet. */
int serve_get_ready(void)
{
	struct bpull_engine_options eo = plugin_config.engine;
	struct bpull_engine *trial = NULL;
	struct bpull_error error;
	int rc;

	if (serve_ask_format() || serve_open_record() || serve_open_budget())
		return -1;
	eo.flags &= ~(uint32_t)BPULL_ENGINE_THREAD;
	eo.io = eo.io == BPULL_IO_AUTO ? BPULL_IO_THREADS : eo.io;
	rc = bpull_engine_open(&eo, &trial, &error);
	if (!rc)
		rc = serve_try_image(trial, &error);
	if (!rc)
		rc = bases_judge(&plugin_config.bases, &error);
	if (!rc)
		serve_try_names();
	if (!rc)
		rc = serve_try_control(&error);
	if (rc)
		plugin_complain(&error);
	bpull_engine_close(trial);
	if (!rc && start_watch()) {
		nbdkit_error("out of memory");
		rc = -ENOMEM;
	}
	return rc ? -1 : 0;
}

static int serve_start_monitor(struct bpull_error *error)
{
	int rc;

	quit_fd = eventfd(0, EFD_CLOEXEC);
	rc = quit_fd < 0 ? errno : pthread_create(&monitor, NULL, serve_watch_job, NULL);
	if (!rc)
		return 0;
	if (quit_fd >= 0)
		close(quit_fd);
	quit_fd = -1;
	error->code = -rc;
	snprintf(error->message, sizeof(error->message), "cannot start a thread: %s", strerror(rc));
	return -rc;
}

static struct json_object *serve_list_bases(void *owner)
{
	return bases_describe(owner);
}

/* NBD has no word by which connected clients could be told: nbdkit asks for the size once a
 * connection, and keeps each within what it was told. Those that connect from now on see it all. */
static int serve_resize(void *owner, uint64_t size, struct bpull_error *error)
{
	(void)owner;
	return bpull_presize(disk, size, error);
}

/* The monitor is last: it is what takes the events of the job. */
static int serve_start(struct bpull_error *error)
{
	int rc = bpull_engine_open(&plugin_config.engine, &engine, error);

	if (!rc)
		rc = bpull_disk_open(engine, plugin_config.image, &plugin_config.disk, &disk,
				     error);
	if (!rc)
		rc = record_begin(&record, bpull_disk_size(disk), RECORD_KEEP_NS);
	if (rc)
		return rc;
	target = (struct control_target){ .disk = disk,
					  .device = plugin_config.device,
					  .path = plugin_config.image,
					  .how = &plugin_config.disk,
					  .job = plugin_config.job,
					  .names = &plugin_config.names,
					  .stays = true,
					  .resize = serve_resize,
					  .servers = serve_list_bases,
					  .budget = budget,
					  .others = &others,
					  .owner = &plugin_config.bases };
	if (plugin_config.control)
		rc = control_open(plugin_config.control, &target, &control, error);
	if (!rc && plugin_config.pull)
		rc = bpull_job_start(disk, &plugin_config.job, error);
	if (!rc && control && plugin_config.pull)
		control_job_started(&target, &plugin_config.job);
	return rc ? rc : serve_start_monitor(error);
}

void serve_cleanup(void)
{
	char why[TRACE_WHY_CAP];
	uint64_t one = 1;

	if (quit_fd >= 0) {
		(void)!write(quit_fd, &one, sizeof(one));
		pthread_join(monitor, NULL);
		close(quit_fd);
	}
	if (record_end(&record, why))
		nbdkit_error("%s", why);
	control_close(control);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	budget_detach(budget);
}

/* What fails is undone before it is told: then the image is free again when nbdkit's exit code is
 * seen. */
int serve_after_fork(void)
{
	struct bpull_error error;
	int rc = serve_start(&error);

	if (rc) {
		plugin_advise(&error);
		serve_cleanup();
	}
	start_tell(rc ? error.message : NULL);
	return rc ? -1 : 0;
}

struct bpull_disk *serve_disk(void)
{
	return disk;
}

void serve_client_has_gone(void)
{
	record_keep(&record);
}

struct recorder *serve_recorder(void)
{
	return record.recorder;
}

bool serve_can_discard(void)
{
	return can_discard;
}
