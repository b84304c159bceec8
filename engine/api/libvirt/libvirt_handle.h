/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The handle behind blockpull-libvirt.h, shared by libvirt.c (disks, callbacks, the dispatcher),
 * libvirt_jobs.c and libvirt_chain.c (the calls about jobs). */
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
	bool is_over;    /* the last call that uses the disk closes it */
	bool is_gone;    /* detached: calls don't find it any more */
	unsigned n_used; /* calls that use it now */
	unsigned n_jobs; /* jobs begun by calls whose ends were not dispatched yet; attached: 0 */
};

struct callback {
	bpull_virt_block_job_callback call; /* NULL: a free slot */
	void *opaque;
};

struct bpull_virt {
	struct bpull_engine *engine;
	struct bpull_disk_options options;
	pthread_mutex_t mutex;
	pthread_cond_t idle; /* signalled when callbacks have run, or a disk's n_used fell */
	struct virt_disk *dispatched; /* the disk whose event the dispatcher is working on */
	struct virt_disk *disks;
	struct callback callbacks[MAX_CALLBACKS];
	bool calling; /* the dispatcher is running callbacks */
	pthread_t dispatcher;
	int quit_fd;
};

/* Fills *error. The value is -1, which libvirt's calls return. */
#define virt_fail(error, code, ...) (error_fill(error, code, __VA_ARGS__), -1)

#endif
