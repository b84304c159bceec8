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
	bool attached;   /* opened by the program, which closes it */
	bool is_over;    /* the last call that uses it closes it */
	bool is_gone;    /* detached: calls don't find it any more */
	unsigned n_used; /* calls that use it now */
	unsigned n_jobs; /* started by calls, and their ends not dispatched; not of one attached */
};

struct callback {
	bpull_virt_block_job_callback call; /* NULL: a free slot */
	void *opaque;
};

struct bpull_virt {
	struct bpull_engine *engine;
	struct bpull_disk_options options;
	pthread_mutex_t mutex;
	pthread_cond_t idle;          /* signalled: no callback runs, or n_used of a disk fell */
	struct virt_disk *dispatched; /* the dispatcher is working on its event */
	struct virt_disk *disks;
	struct callback callbacks[MAX_CALLBACKS];
	bool calling;
	pthread_t dispatcher;
	int quit_fd;
};

/* Fills *error and gives -1, as libvirt's calls return. */
#define virt_fail(error, code, ...) (error_fill(error, code, __VA_ARGS__), -1)

#endif
