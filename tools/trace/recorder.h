/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a guest touches, as a trace: each block of the disk once. Any number of
 * threads may touch at once; a block that is known costs them one load.
 */
#ifndef TOOLS_TRACE_RECORDER_H
#define TOOLS_TRACE_RECORDER_H

#include <stdint.h>

struct recorder;
struct trace;

/* For a disk of so many bytes; what it is longer later is not recorded. NULL: no memory. */
struct recorder *recorder_new(uint64_t disk_len);
/* A request for what the disk holds there. `recorder` NULL: nothing is recorded. */
void recorder_read(struct recorder *recorder, uint64_t off, uint64_t len);
/* New content: what a block had before is wanted only where it is not all replaced. */
void recorder_write(struct recorder *recorder, uint64_t off, uint64_t len);
/* Moves what was recorded to *trace, which the caller frees. No thread touches any more. */
void recorder_take(struct recorder *recorder, struct trace *trace);
/* A copy of what was recorded so far, which the caller frees: 1. 0: nothing was touched since the
 * last copy; -ENOMEM. Any thread. */
int recorder_copy(struct recorder *recorder, struct trace *trace);
/* The last copy was of no use: the next one is made in any case. */
void recorder_forget_copy(struct recorder *recorder);
/* NULL is allowed. */
void recorder_free(struct recorder *recorder);

#endif
