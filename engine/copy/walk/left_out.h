/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Runs that could not read, and that the job leaves out (BPULL_ON_ERROR_IGNORE). */
#ifndef BLOCKPULL_COPY_LEFT_OUT_H
#define BLOCKPULL_COPY_LEFT_OUT_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;
struct op;

struct left_out {
	unsigned n; /* runs */
	int error;  /* of the first run, and its sentence */
	char message[1024];
};

/* A run has failed. True: its range could not be read, and the job goes on without it; that is
 * noted, and the program gets an event. False: the job's on_error, or this error, does not allow
 * that. */
bool left_out_note(struct bpull_disk *disk, const struct op *op);
/* Fails the job with the first error if something was left out. False: nothing was. */
bool left_out_fail_job(struct bpull_disk *disk);

#endif
