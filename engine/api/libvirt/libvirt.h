/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of libvirt's calls share: libvirt.c (paths and disks) and libvirt_jobs.c (the
 * rest). */
#ifndef BLOCKPULL_API_LIBVIRT_H
#define BLOCKPULL_API_LIBVIRT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct bpull_error;
struct bpull_job_options;
struct bpull_virt;
struct virt_disk;

/* 0: *real_path is the path without symlinks, which the caller frees. -1: *error says why. */
int virt_resolve(const char *path, char **real_path, struct bpull_error *error);
/* Finds the disk of that path and counts the caller on it, until virt_put(). NULL: there is
 * none. */
struct virt_disk *virt_get(struct bpull_virt *virt, const char *real_path);
/* The same for a path as the program gives it; -1: it can't be resolved. */
int virt_get_by_path(struct bpull_virt *virt, const char *path, struct virt_disk **out,
		     struct bpull_error *error);
/* Adds a disk and counts the caller on it. Takes over real_path. 0, -ENOMEM, or -EBUSY: the path
 * has a disk already. */
int virt_add(struct bpull_virt *virt, const char *path, char *real_path, struct bpull_disk *disk,
	     bool attached, struct virt_disk **out);
/* Ends the caller's count; the last one closes a disk that is over (virt_disk.is_over). */
void virt_put(struct bpull_virt *virt, struct virt_disk *d);
/* -1: flags beyond those that are known. */
int virt_check_flags(unsigned int flags, unsigned int known, struct bpull_error *error);
/* The given bandwidth in bytes/s. -1: it overflows 2^63, which libvirt may refuse, too. */
int virt_to_bytes(unsigned long bandwidth, bool is_bytes, uint64_t *out, struct bpull_error *error);
/* Finds the disk of that path, or opens it, and counts the caller on it. virt_start() or
 * virt_put_opened() must follow. */
int virt_get_or_open(struct bpull_virt *virt, const char *path, struct virt_disk **out,
		     struct bpull_error *error);
/* As virt_put(), and a disk that was opened by a call and has no job is over now. */
void virt_put_opened(struct bpull_virt *virt, struct virt_disk *d);
/* Starts a job on the disk, and ends the caller's count, whether it succeeds or not. 0 or -1. */
int virt_start(struct bpull_virt *virt, struct virt_disk *d,
	       const struct bpull_job_options *options, struct bpull_error *error);
/* The disk's job runs. */
bool virt_runs(struct bpull_disk *disk);

#endif
