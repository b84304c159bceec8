/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calls in libvirt's words: what their two files share. */
#ifndef BLOCKPULL_API_LIBVIRT_H
#define BLOCKPULL_API_LIBVIRT_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;
struct bpull_error;
struct bpull_virt;
struct virt_disk;

/* 0 and the path without symlinks, which the caller frees; -1. */
int virt_resolve(const char *path, char **real_path, struct bpull_error *error);
/* The disk of that path, held; NULL: it is not known. */
struct virt_disk *virt_hold(struct bpull_virt *virt, const char *real_path);
/* The same for a path as given; -1: it is none. */
int virt_hold_by_path(struct bpull_virt *virt, const char *path, struct virt_disk **out,
		      struct bpull_error *error);
/* Adds one, held once. Takes over real_path. 0, -ENOMEM, or -EBUSY: it is there already. */
int virt_add(struct bpull_virt *virt, const char *path, char *real_path, struct bpull_disk *disk,
	     bool attached, struct virt_disk **out);
/* Gives a held disk back; the last holder closes one that is over. */
void virt_put(struct bpull_virt *virt, struct virt_disk *d);
/* Is its job under way? */
bool virt_runs(struct bpull_disk *disk);

#endif
