/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the parts of a snap_trial share: snap_trial.c, snap_session.c and snap_judge.c. */
#ifndef BLOCKPULL_TESTS_SNAP_PRIVATE_H
#define BLOCKPULL_TESTS_SNAP_PRIVATE_H

#include "tests/whole/chains/snap_trial.h"

/* Guest bytes. */
static inline uint64_t snap_disk_len(const struct snap_trial *t)
{
	return t->chain->guest_len;
}

/* A file of the chain, by its depth. NULL: the image itself, or none. */
static inline const char *snap_file_name(const struct snap_trial *t, unsigned depth)
{
	return depth && depth < t->chain->n_files ? t->chain->files[depth].name : NULL;
}

/* snap_trial.c */
int snap_open(struct snap_trial *t);
void snap_take_event(struct snap_trial *t, const struct bpull_event *event);
/* Until nothing is in flight. */
void snap_run(struct snap_trial *t);
/* A new image. */
struct snap_new {
	const char *name;
	enum image_format format;
	uint32_t cluster_len;
};

/* By one call, each on the one before. */
void snap_take(struct snap_trial *t, const struct snap_new *list, unsigned n);

/* snap_session.c. In the fixed one SNAP_FIXED snapshots and a pull; in the second the job of
 * t->job; in the third what t->draws says. */
void snap_session_fixed(struct snap_trial *t, const char *const *names);
void snap_session_job(struct snap_trial *t);
void snap_session_drawn(struct snap_trial *t, const char *const *names);

#endif
