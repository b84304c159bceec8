/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A machine that stops its rings may be on its way to another host's process,
 * which is to have the image; or it is rebooted, or paused. The messages are the
 * same. So the locks go each time, before the frontend has its answer, and come
 * back when a ring runs.
 *
 * Requests that find the image with another process wait in their ring. To fail
 * them was rejected: a guest that gets an error makes its file system read-only
 * for good, while who has the image may only look at it for a moment.
 *
 * A frontend that leaves without stopping its rings was killed: the locks stay,
 * as its requests are in the in-flight region and will be done again. The next
 * process does them before such a ring is stopped: a ring alone can't tell the
 * destination of requests that ended in another order. If another program has
 * the image then, the stop waits, and nothing else does.
 */
#include "tools/serve/handover.h"

#include <errno.h>

#include "tools/cli/say.h"
#include "tools/clock/monotonic.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/jobs/suspend.h"

#define SECOND_NS UINT64_C(1000000000)
/* Between two tries to take the locks: first, while another program is about to give the image
 * away; later, when that program keeps it. */
#define SOON_NS UINT64_C(10000000)
#define LATE_NS UINT64_C(100000000)

/* ---- the pull ---- */

void handover_put_off(struct handover *h, const struct bpull_job_options *job)
{
	h->again = *job;
	h->is_pull_owed = h->is_pull_new = true;
}

bool handover_take_event(struct handover *h, const struct bpull_event *event)
{
	if (!h->is_stopping || event->type != BPULL_EVENT_JOB || event->status == BPULL_JOB_READY)
		return false;
	h->has_stopped = true;
	/* A client that has canceled it is to be told so. */
	h->was_ours = event->status == BPULL_JOB_CANCELED &&
		      !(h->target->active && h->target->active->is_canceled);
	return h->was_ours;
}

static void handover_stop_pull(struct handover *h)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	const struct bpull_job_options *again;

	if (bpull_job_get_info(h->port->disk, &info) != 1 || info.state == BPULL_JOB_CONCLUDED)
		return;
	h->is_stopping = true;
	h->has_stopped = h->was_ours = false;
	bpull_job_abort(h->port->disk); /* a pull at its end completes instead */
	while (!h->has_stopped)
		port_wait(h->port, -1);
	h->is_stopping = false;
	if (!h->was_ours)
		return;
	again = control_job_suspend(h->target, &info);
	h->again = again ? *again : h->job;
	h->is_pull_owed = true;
	h->is_pull_new = false;
}

static void handover_start_pull(struct handover *h)
{
	struct bpull_error error = { 0 };
	int rc;

	if (!h->is_pull_owed)
		return;
	h->is_pull_owed = false;
	rc = bpull_job_start(h->port->disk, &h->again, &error);
	if (rc)
		say_error("the pull can't go on: %s", error.message);
	else if (bpull_disk_note(h->port->disk))
		say_note("'%s': %s", h->image->path, bpull_disk_note(h->port->disk));
	if (!h->is_pull_new)
		control_job_wake(h->target, rc ? error.message : NULL);
	else if (!rc && h->has_clients)
		control_job_started(h->target, &h->again);
}

/* ---- the locks ---- */

void handover_release(struct handover *h)
{
	struct bpull_error error = { 0 };

	h->waiting_at_ns = 0;
	if (h->port->is_inactive)
		return;
	handover_stop_pull(h);
	if (bpull_disk_inactivate(h->port->disk, &error)) {
		say_error("the locks are kept while the machine's rings are stopped: %s",
			  error.message);
		handover_start_pull(h);
		return;
	}
	h->port->is_inactive = h->target->is_inactive = true;
	h->try_at_ns = 0;
}

/* What is not over by itself in a moment is said. */
static void handover_refused(struct handover *h, int rc, const struct bpull_error *error)
{
	uint64_t now = monotonic_ns();
	bool is_lock = rc == -EBUSY, is_late;

	if (!h->waiting_at_ns)
		h->waiting_at_ns = now;
	is_late = !is_lock || now - h->waiting_at_ns >= SECOND_NS;
	h->try_at_ns = now + (!is_lock ? SECOND_NS : is_late ? LATE_NS : SOON_NS);
	if (!is_late || rc == h->refused)
		return;
	say_error("the machine waits for its disk: %s", error->message);
	h->refused = rc;
}

bool handover_take(struct handover *h)
{
	struct bpull_error error = { 0 };
	int rc;

	if (monotonic_ns() < h->try_at_ns)
		return false;
	rc = bpull_disk_try_activate(h->port->disk, &error);
	if (rc) {
		handover_refused(h, rc, &error);
		return false;
	}
	if (h->refused)
		say_note("'%s': the machine has its disk", h->image->path);
	h->refused = 0;
	h->waiting_at_ns = 0;
	h->port->is_inactive = h->target->is_inactive = false;
	image_came_back(h->image, h->port);
	handover_start_pull(h);
	return true;
}

int handover_wait_ms(const struct handover *h)
{
	uint64_t now = monotonic_ns();

	return now < h->try_at_ns ? (h->try_at_ns - now) / 1000000 + 1 : 0;
}
