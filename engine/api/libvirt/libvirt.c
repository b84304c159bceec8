/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The libvirt family's handle: paths to disks, events to callbacks. It uses the
 * public interface only, except to word errors and to know a child of fork().
 *
 * One mutex guards the tables of disks and callbacks; no function that waits or
 * calls back is called under it. Each call counts itself on its disk (n_used).
 * The dispatcher closes disks whose job is over, but not while that count is
 * above 0. Callbacks from the engine's thread were rejected: they would run
 * under its lock.
 */
#include "engine/api/libvirt/libvirt.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/api/fork.h"
#include "engine/api/libvirt/libvirt_handle.h"
#include "engine/api/options/args.h"
#include "engine/api/options/structs.h"
#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"
#include "io/base.h"
#include "io/err.h"

/* ---- disks ---- */

static void free_disk(struct virt_disk *d)
{
	free(d->path);
	free(d->real_path);
	free(d);
}

static struct virt_disk *find_virt_disk(struct bpull_virt *virt, const char *real_path)
{
	struct virt_disk *d = virt->disks;

	while (d && strcmp(d->real_path, real_path))
		d = d->next;
	return d;
}

static void unlink_disk(struct bpull_virt *virt, struct virt_disk *d)
{
	struct virt_disk **link = &virt->disks;

	while (*link != d)
		link = &(*link)->next;
	*link = d->next;
}

void virt_put(struct bpull_virt *virt, struct virt_disk *d)
{
	bool last;

	pthread_mutex_lock(&virt->mutex);
	last = !--d->n_used && d->is_over;
	if (last && !d->is_gone)
		unlink_disk(virt, d);
	pthread_cond_broadcast(&virt->idle);
	pthread_mutex_unlock(&virt->mutex);
	if (!last)
		return;
	if (!d->attached)
		bpull_disk_close(d->disk);
	free_disk(d);
}

int virt_resolve(const char *path, char **real_path, struct bpull_error *error)
{
	char shown[512];

	if (!path || *path != '/')
		return virt_fail(
			error, -EINVAL, "%s: a disk is named by its image's fully-qualified path",
			path ? err_escape(path, strlen(path), shown, sizeof(shown)) : "NULL");
	*real_path = realpath(path, NULL);
	return *real_path ? 0
			  : virt_fail(error, -errno, "%s: %s",
				      err_escape(path, strlen(path), shown, sizeof(shown)),
				      strerror(errno));
}

struct virt_disk *virt_get(struct bpull_virt *virt, const char *real_path)
{
	struct virt_disk *d;

	pthread_mutex_lock(&virt->mutex);
	d = find_virt_disk(virt, real_path);
	if (d)
		d->n_used++;
	pthread_mutex_unlock(&virt->mutex);
	return d;
}

int virt_get_by_path(struct bpull_virt *virt, const char *path, struct virt_disk **out,
		     struct bpull_error *error)
{
	char *real_path;
	int rc = virt_resolve(path, &real_path, error);

	if (rc)
		return rc;
	*out = virt_get(virt, real_path);
	free(real_path);
	return 0;
}

int virt_add(struct bpull_virt *virt, const char *path, char *real_path, struct bpull_disk *disk,
	     bool attached, struct virt_disk **out)
{
	struct virt_disk *d = calloc(1, sizeof(*d));

	if (d) {
		*d = (struct virt_disk){ .path = strdup(path),
					 .real_path = real_path,
					 .disk = disk,
					 .attached = attached,
					 .n_used = 1 };
	}
	if (!d || !d->path) {
		free(d);
		free(real_path);
		return -ENOMEM;
	}
	pthread_mutex_lock(&virt->mutex);
	if (find_virt_disk(virt, real_path)) {
		pthread_mutex_unlock(&virt->mutex);
		free_disk(d);
		return -EBUSY;
	}
	d->next = virt->disks;
	virt->disks = d;
	pthread_mutex_unlock(&virt->mutex);
	*out = d;
	return 0;
}

int bpull_virt_attach(struct bpull_virt *virt, const char *path, struct bpull_disk *disk,
		      struct bpull_error *error)
{
	char *real_path;
	struct virt_disk *d;
	int rc;

	error_begin(error);
	if (is_missing(virt, "virt", error) || is_missing(disk, "disk", error))
		return -1;
	if (virt_resolve(path, &real_path, error))
		return -1;
	rc = virt_add(virt, path, real_path, disk, true, &d);
	if (rc == -EBUSY)
		return virt_fail(error, rc, "another disk is known under that path");
	if (rc)
		return virt_fail(error, rc, "out of memory");
	virt_put(virt, d);
	return 0;
}

/* Call under the mutex. New calls don't find the disk; this one waits for those under way, since
 * the program may close the disk next. Called from a callback of this very disk it does not wait,
 * and the dispatcher frees the disk later. */
static void detach(struct bpull_virt *virt, struct virt_disk *d)
{
	bool is_own = d == virt->dispatched && pthread_equal(pthread_self(), virt->dispatcher);

	unlink_disk(virt, d);
	d->is_gone = true;
	while (d->n_used > is_own)
		pthread_cond_wait(&virt->idle, &virt->mutex);
	d->is_over = is_own;
	if (!is_own)
		free_disk(d);
}

int bpull_virt_detach(struct bpull_virt *virt, const char *path, struct bpull_error *error)
{
	struct virt_disk *d;
	char *real_path;

	error_begin(error);
	if (is_missing(virt, "virt", error) || virt_resolve(path, &real_path, error))
		return -1;
	pthread_mutex_lock(&virt->mutex);
	d = find_virt_disk(virt, real_path);
	if (d && d->attached)
		detach(virt, d);
	else
		d = NULL;
	pthread_mutex_unlock(&virt->mutex);
	free(real_path);
	return d ? 0 : virt_fail(error, -ENOENT, "no disk is attached under that path");
}

/* ---- callbacks ---- */

static void call_all(struct bpull_virt *virt, const char *path, int type, int status)
{
	struct callback calls[MAX_CALLBACKS];

	pthread_mutex_lock(&virt->mutex);
	memcpy(calls, virt->callbacks, sizeof(calls));
	virt->calling = true;
	pthread_mutex_unlock(&virt->mutex);
	for (unsigned i = 0; i < MAX_CALLBACKS; i++)
		if (calls[i].call)
			calls[i].call(virt, path, type, status, calls[i].opaque);
	pthread_mutex_lock(&virt->mutex);
	virt->calling = false;
	pthread_cond_broadcast(&virt->idle);
	pthread_mutex_unlock(&virt->mutex);
}

int bpull_virt_event_register(struct bpull_virt *virt, bpull_virt_block_job_callback callback,
			      void *opaque, struct bpull_error *error)
{
	int id = 0;

	error_begin(error);
	if (is_missing(virt, "virt", error))
		return -1;
	if (!callback)
		return virt_fail(error, -EINVAL, "no callback");
	pthread_mutex_lock(&virt->mutex);
	while (id < MAX_CALLBACKS && virt->callbacks[id].call)
		id++;
	if (id < MAX_CALLBACKS)
		virt->callbacks[id] = (struct callback){ callback, opaque };
	pthread_mutex_unlock(&virt->mutex);
	return id < MAX_CALLBACKS
		       ? id
		       : virt_fail(error, -ENOSPC, "more than %d callbacks", MAX_CALLBACKS);
}

int bpull_virt_event_deregister(struct bpull_virt *virt, int id, struct bpull_error *error)
{
	int rc = 0;

	error_begin(error);
	if (is_missing(virt, "virt", error))
		return -1;
	pthread_mutex_lock(&virt->mutex);
	if (id < 0 || id >= MAX_CALLBACKS || !virt->callbacks[id].call)
		rc = -1;
	else
		virt->callbacks[id].call = NULL;
	while (!rc && virt->calling)
		pthread_cond_wait(&virt->idle, &virt->mutex);
	pthread_mutex_unlock(&virt->mutex);
	return rc ? virt_fail(error, -EINVAL, "no such callback") : 0;
}

/* ---- the dispatcher ---- */

static struct virt_disk *get_by_disk(struct bpull_virt *virt, const struct bpull_disk *disk)
{
	struct virt_disk *d;

	pthread_mutex_lock(&virt->mutex);
	for (d = virt->disks; d && d->disk != disk; d = d->next)
		;
	if (d)
		d->n_used++;
	virt->dispatched = d;
	pthread_mutex_unlock(&virt->mutex);
	return d;
}

bool virt_runs(struct bpull_disk *disk)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	return bpull_job_get_info(disk, &info) && info.state != BPULL_JOB_CONCLUDED;
}

static void dispatch(struct bpull_virt *virt, const struct bpull_event *event)
{
	struct virt_disk *d =
		event->type == BPULL_EVENT_JOB ? get_by_disk(virt, event->disk) : NULL;
	struct bpull_job_info info = { .size = sizeof(info) };

	if (!d)
		return;
	/* The type may be the next job's, if another thread has just started one of another
	 * type. */
	bpull_job_get_info(d->disk, &info);
	call_all(virt, d->path, (int)info.type, event->status);
	pthread_mutex_lock(&virt->mutex);
	/* Another job may run already; a callback may have started it. */
	if (event->status != BPULL_JOB_READY && !d->attached)
		d->is_over |= !--d->n_jobs;
	virt->dispatched = NULL;
	pthread_mutex_unlock(&virt->mutex);
	virt_put(virt, d);
}

static void *virt_run(void *opaque)
{
	struct bpull_virt *virt = opaque;
	struct pollfd fds[2] = { { .fd = bpull_engine_fd(virt->engine), .events = POLLIN },
				 { .fd = virt->quit_fd, .events = POLLIN } };

	while (!fds[1].revents) {
		struct bpull_event event;

		if (bpull_engine_process(virt->engine, &event, 1) == 1)
			dispatch(virt, &event);
		else
			poll(fds, 2, -1);
	}
	return NULL;
}

/* ---- the handle ---- */

int bpull_virt_open(const struct bpull_engine_options *engine_options,
		    const struct bpull_disk_options *disk_options, struct bpull_virt **out,
		    struct bpull_error *error)
{
	struct bpull_engine_options eo;
	struct bpull_disk_options o;
	struct bpull_virt *virt;
	int rc;

	error_begin(error);
	if (is_missing(out, "virt", error))
		return -1;
	/* The first disk's opening checks flags and names. */
	if (!options_import(&eo, sizeof(eo), engine_options) ||
	    !options_import(&o, sizeof(o), disk_options))
		return virt_fail(error, -EINVAL, "unknown engine or disk options");
	virt = calloc(1, sizeof(*virt));
	if (!virt)
		return virt_fail(error, -ENOMEM, "out of memory");
	virt->options = o;
	eo.size = sizeof(eo);
	virt->options.size = sizeof(virt->options);
	eo.flags |= BPULL_ENGINE_THREAD;
	rc = bpull_engine_open(&eo, &virt->engine, error);
	virt->quit_fd = rc ? -1 : eventfd(0, EFD_CLOEXEC);
	if (!rc && virt->quit_fd < 0)
		rc = virt_fail(error, -errno, "eventfd: %s", strerror(errno));
	pthread_mutex_init(&virt->mutex, NULL);
	pthread_cond_init(&virt->idle, NULL);
	if (!rc && pthread_create(&virt->dispatcher, NULL, virt_run, virt))
		rc = virt_fail(error, -EAGAIN, "cannot start the dispatcher's thread");
	if (rc) {
		bpull_engine_close(virt->engine);
		if (virt->quit_fd >= 0)
			close(virt->quit_fd);
		free(virt);
		return -1;
	}
	*out = virt;
	return 0;
}

void bpull_virt_close(struct bpull_virt *virt)
{
	uint64_t one = 1;

	if (!virt)
		return;
	if (engine_is_forked(virt->engine)) {
		bpull_engine_close(virt->engine);
		close(virt->quit_fd);
		return;
	}
	(void)!write(virt->quit_fd, &one, sizeof(one));
	pthread_join(virt->dispatcher, NULL);
	while (virt->disks) {
		struct virt_disk *d = virt->disks;

		virt->disks = d->next;
		if (!d->attached)
			bpull_disk_close(d->disk);
		free_disk(d);
	}
	bpull_engine_close(virt->engine);
	pthread_mutex_destroy(&virt->mutex);
	pthread_cond_destroy(&virt->idle);
	close(virt->quit_fd);
	free(virt);
}

struct bpull_engine *bpull_virt_engine(struct bpull_virt *virt)
{
	return virt ? virt->engine : NULL;
}
