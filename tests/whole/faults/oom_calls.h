/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Calls of the public interface on real files, with the n-th allocation
 * failing for every n: an error with a sentence, or success; no descriptor, no
 * file and (with the address sanitizer) no byte is left; and the same call with
 * memory succeeds.
 */
#ifndef BLOCKPULL_TESTS_OOM_CALLS_H
#define BLOCKPULL_TESTS_OOM_CALLS_H

#include <stdbool.h>

#include "engine/blockpull.h"

struct oom_call {
	const char *name;
	/* Puts the files there, in the scratch directory, over what a run left. */
	void (*prepare)(void);
	/* 0 or -errno, with *error filled by what failed. */
	int (*run)(struct bpull_error *error);
	/* Of the files after a run that succeeded. NULL: nothing to say. */
	void (*judge)(void);
	bool only_once; /* not for ever: submitting a guest's request waits for its memory */
};

/* At least min_runs allocations must fail. */
void oom_call_all(const struct oom_call *call, unsigned min_runs);

/* ---- images: a qcow2 overlay "top" over qcow2 "mid", with compressed clusters, over raw "base"
 * ---- */

#define OOM_DISK_LEN (256u << 10)

void oom_put_chain(void);
/* What the image reads is what that chain did; it checks clean; with_backing: whether it has
 * one. */
void oom_judge_image(const char *name, bool with_backing);

#endif
