/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The handle behind blockpull-libvirt.h, shared by libvirt.c (disks, callbacks, the dispatcher) and
 * libvirt_jobs.c (the calls). */
#ifndef BLOCKPULL_LIBVIRT_HANDLE_H
#define BLOCKPULL_LIBVIRT_HANDLE_H

#include <pthread.h>
#include <stdbool.h>

#include "engine/libvirt_handle.h"
#include "engine/blockpull-libvirt.h"
#include "engine/engine.h"

#define MAX_CALLBACKS 64

struct virt_disk {
	struct virt_disk *next;
	char *path, *real_path;
	struct bpull_disk *disk;
	bool attached;   /* the program's own */
	bool is_over;    /* to be closed by the last user */
	bool is_gone;    /* detached: no longer found */
	unsigned n_used; /* calls that hold it */
};

struct callback {
	bpull_virt_block_job_callback call; /* NULL: free */
	void *opaque;
};

struct bpull_virt {
	struct bpull_engine *engine;
	struct bpull_disk_options options;
	pthread_mutex_t mutex;
	pthread_cond_t idle;          /* no callback runs, or a disk has a user less */
	struct virt_disk *dispatched; /* whose event the dispatcher has in hand */
	struct virt_disk *disks;
	struct callback callbacks[MAX_CALLBACKS];
	bool calling;
	pthread_t dispatcher;
	int quit_fd;
};

/* Fills *error; -1, as libvirt's calls return. */
#define virt_fail(error, code, ...) (error_fill(error, code, __VA_ARGS__), -1)
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
/* Gives a held disk back; whoever is last closes one that is over. */
void virt_put(struct bpull_virt *virt, struct virt_disk *d);
/* Is its job under way? */
bool virt_runs(struct bpull_disk *disk);

#endif
