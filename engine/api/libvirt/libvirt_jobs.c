/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * virDomainBlockPull() and its family: checks flags, turns MiB into bytes, and
 * asks the library. Numbers and semantics are in the header.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/libvirt/libvirt.h"
#include "engine/api/libvirt/libvirt_handle.h"
#include "engine/api/options/args.h"
#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"
#include "engine/core/export.h"
#include "io/base.h"

int virt_check_flags(unsigned int flags, unsigned int known, struct bpull_error *error)
{
	return flags & ~known ? virt_fail(error, -EINVAL, "unknown flags %#x", flags & ~known) : 0;
}

int virt_to_bytes(unsigned long bandwidth, bool is_bytes, uint64_t *out, struct bpull_error *error)
{
	if (!is_bytes && bandwidth > (UINT64_MAX >> 1) / MiB)
		return virt_fail(error, -ERANGE, "a bandwidth of %lu MiB/s is too large",
				 bandwidth);
	*out = is_bytes ? bandwidth : bandwidth * MiB;
	return 0;
}

static struct virt_disk *open_disk(struct bpull_virt *virt, const char *path, char *real_path,
				   struct bpull_error *error)
{
	struct virt_disk *d = NULL;
	struct bpull_disk *disk;
	int rc;

	if (bpull_disk_open(virt->engine, path, &virt->options, &disk, error)) {
		free(real_path);
		return NULL;
	}
	rc = virt_add(virt, path, real_path, disk, false, &d);
	if (!rc)
		return d;
	bpull_disk_close(disk);
	error_fill(error, rc, "%s",
		   rc == -EBUSY ? "another call opens the image this very moment"
				: "out of memory");
	return NULL;
}

int virt_get_or_open(struct bpull_virt *virt, const char *path, struct virt_disk **out,
		     struct bpull_error *error)
{
	char *real_path;

	if (virt_resolve(path, &real_path, error))
		return -1;
	*out = virt_get(virt, real_path);
	if (*out)
		free(real_path);
	else
		*out = open_disk(virt, path, real_path, error);
	return *out ? 0 : -1;
}

void virt_put_opened(struct bpull_virt *virt, struct virt_disk *d)
{
	pthread_mutex_lock(&virt->mutex);
	d->is_over |= !d->attached && !d->n_jobs;
	pthread_mutex_unlock(&virt->mutex);
	virt_put(virt, d);
}

int virt_start(struct bpull_virt *virt, struct virt_disk *d,
	       const struct bpull_job_options *options, struct bpull_error *error)
{
	int rc;

	/* Counted before it starts, since the job may be over before bpull_job_start() returns. */
	pthread_mutex_lock(&virt->mutex);
	d->n_jobs += !d->attached;
	d->is_over = false;
	pthread_mutex_unlock(&virt->mutex);
	rc = bpull_job_start(d->disk, options, error);
	if (rc) {
		pthread_mutex_lock(&virt->mutex);
		d->n_jobs -= !d->attached;
		pthread_mutex_unlock(&virt->mutex);
	}
	virt_put_opened(virt, d);
	return rc ? -1 : 0;
}

int bpull_virt_block_pull(struct bpull_virt *virt, const char *path, unsigned long bandwidth,
			  unsigned int flags, struct bpull_error *error)
{
	struct bpull_job_options o = { .size = sizeof(o) };
	struct virt_disk *d;

	error_begin(error);
	if (is_missing(virt, "virt", error) ||
	    virt_check_flags(flags, BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES, error) ||
	    virt_to_bytes(bandwidth, flags & BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES, &o.bandwidth,
			  error) ||
	    virt_get_or_open(virt, path, &d, error))
		return -1;
	return virt_start(virt, d, &o, error);
}

int bpull_virt_block_job_info(struct bpull_virt *virt, const char *path,
			      struct bpull_virt_block_job_info *info, unsigned int flags,
			      struct bpull_error *error)
{
	bool is_bytes = flags & BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES;
	struct bpull_job_info now = { .size = sizeof(now) };
	struct virt_disk *d;
	int found;

	error_begin(error);
	if (is_missing(virt, "virt", error) || is_missing(info, "info", error))
		return -1;
	if (virt_check_flags(flags, BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES, error) ||
	    virt_get_by_path(virt, path, &d, error))
		return -1;
	*info = (struct bpull_virt_block_job_info){ 0 };
	if (!d)
		return 0;
	found = bpull_job_get_info(d->disk, &now) && now.state != BPULL_JOB_CONCLUDED;
	virt_put(virt, d);
	if (!found)
		return 0;
	if (is_bytes && now.bandwidth > ULONG_MAX)
		return virt_fail(error, -EOVERFLOW,
				 "a limit of %llu bytes/s is beyond an unsigned long: ask for "
				 "MiB/s",
				 (unsigned long long)now.bandwidth);
	*info = (struct bpull_virt_block_job_info){
		.type = (int)now.type,
		.bandwidth = is_bytes ? now.bandwidth : div_round_up(now.bandwidth, MiB),
		.cur = now.cur,
		.end = now.end,
	};
	return 1;
}

/* Finds the disk of a running job and counts the caller on it. */
static int get_running(struct bpull_virt *virt, const char *path, struct virt_disk **out,
		       struct bpull_error *error)
{
	if (virt_get_by_path(virt, path, out, error))
		return -1;
	if (*out && virt_runs((*out)->disk))
		return 0;
	if (*out)
		virt_put(virt, *out);
	return virt_fail(error, -ENOENT, "no block job runs on that disk");
}

static int pivot(struct bpull_disk *disk, struct bpull_error *error)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	int rc;

	bpull_job_get_info(disk, &info);
	if (info.type != BPULL_JOB_TYPE_ACTIVE_COMMIT)
		return virt_fail(error, -EINVAL,
				 "only a commit of the image itself can be pivoted");
	rc = bpull_job_finalize(disk);
	if (rc == -EAGAIN)
		return virt_fail(error, rc, "the commit is not READY for a pivot yet");
	return rc ? virt_fail(error, rc, "no block job runs on that disk") : 0;
}

/* A program that was told of a pivot may remove the old image. */
static int check_pivoted(struct bpull_disk *disk, struct bpull_error *error)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(disk, &info);
	if (info.state != BPULL_JOB_CONCLUDED || info.status == BPULL_JOB_COMPLETED)
		return 0;
	return virt_fail(
		error, info.error ? info.error : -ECANCELED,
		"the commit has ended without its pivot: %s; the disk's image is what it was",
		strerror(info.error ? -info.error : ECANCELED));
}

int bpull_virt_block_job_abort(struct bpull_virt *virt, const char *path, unsigned int flags,
			       struct bpull_error *error)
{
	bool is_pivot = flags & BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT;
	struct virt_disk *d;
	int rc = 0;

	error_begin(error);
	if (is_missing(virt, "virt", error))
		return -1;
	if (virt_check_flags(flags,
			     BPULL_VIRT_BLOCK_JOB_ABORT_ASYNC | BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT,
			     error))
		return -1;
	if (get_running(virt, path, &d, error))
		return -1;
	if (is_pivot)
		rc = pivot(d->disk, error);
	else
		bpull_job_abort(d->disk); /* -ENOENT: the job has just ended, as asked */
	if (!rc && !(flags & BPULL_VIRT_BLOCK_JOB_ABORT_ASYNC)) {
		bpull_job_wait(d->disk, -1);
		rc = is_pivot ? check_pivoted(d->disk, error) : 0;
	}
	virt_put(virt, d);
	return rc;
}

int bpull_virt_block_job_set_speed(struct bpull_virt *virt, const char *path,
				   unsigned long bandwidth, unsigned int flags,
				   struct bpull_error *error)
{
	struct virt_disk *d;
	uint64_t bytes = 0;
	int rc;

	error_begin(error);
	if (is_missing(virt, "virt", error))
		return -1;
	if (virt_check_flags(flags, BPULL_VIRT_BLOCK_JOB_SPEED_BANDWIDTH_BYTES, error) ||
	    virt_to_bytes(bandwidth, flags & BPULL_VIRT_BLOCK_JOB_SPEED_BANDWIDTH_BYTES, &bytes,
			  error) ||
	    get_running(virt, path, &d, error))
		return -1;
	rc = bpull_job_set_speed(d->disk, bytes, 0);
	virt_put(virt, d);
	return rc ? virt_fail(error, rc, "no block job runs on that disk") : 0;
}
