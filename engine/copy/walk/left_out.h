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

/* True: the job goes on without the range that this run could not read, which is noted, and the
 * program gets an event. False: the job does not want that. */
bool left_out_note(struct bpull_disk *disk, const struct op *op);
/* Fails the job where something was left out, with the first error. False: nothing was. */
bool left_out_fail_job(struct bpull_disk *disk);

#endif
