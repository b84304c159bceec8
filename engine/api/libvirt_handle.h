/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The handle behind blockpull-libvirt.h, shared by libvirt.c (disks, callbacks, the dispatcher) and
 * libvirt_jobs.c (the calls). */
#ifndef BLOCKPULL_API_LIBVIRT_HANDLE_H
#define BLOCKPULL_API_LIBVIRT_HANDLE_H

#include <pthread.h>
#include <stdbool.h>

#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"
#include "engine/core/export.h"
#include "io/base.h"

struct bpull_disk;
struct bpull_engine;

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

#endif
