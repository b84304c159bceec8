/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the operator is told of jobs. */
#ifndef TOOLS_SERVE_JOB_NOTE_H
#define TOOLS_SERVE_JOB_NOTE_H

#include <stdbool.h>

#include "engine/blockpull.h"

/* Says what an event of the disk's job means, if it means anything; with `quiet` errors only.
 * `image` is the disk's, after what the event tells of. */
void job_note_event(struct bpull_disk *disk, const struct bpull_event *event, const char *image,
		    bool quiet);

#endif
