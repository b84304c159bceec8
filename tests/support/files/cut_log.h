/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Power cuts of blocking code: a file in memory whose changes are logged, and
 * afterwards every state that a cut at any moment could have left, each handed
 * to a judge. Between two barriers any 512 bytes written, any truncation and
 * any hole punched may be there or not. The file may also be on a disk that
 * has room for so many blocks more.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_CUT_LOG_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_CUT_LOG_H

#include "io/file.h"

#define CUT_BLOCK_LEN 4096u

/* 512 bytes of a write, a truncation (is_length) or a punched block (zeros). */
struct cut_unit {
	unsigned epoch; /* barriers before it */
	bool is_length;
	uint64_t off; /* or the length */
	uint8_t bytes[512];
};

struct cut_log {
	struct file *file; /* a mem_file */
	const struct file_ops *own_ops;
	uint8_t *base;
	uint64_t base_len;
	struct cut_unit *units;
	size_t n_units, room;
	unsigned n_epochs; /* the last one is not over */
	bool limited;
	uint64_t free_blocks; /* where limited */
	bool *allocated;
	size_t n_allocated;
	unsigned fail_sync;    /* the barrier that fails, from 1; 0: none */
	unsigned judged_epoch; /* while judging: barriers passed before the cut */
};

/* Logs what is done to the file from now on; one log at a time. n_free_blocks: UINT64_MAX for
 * any. */
void cut_log_start(struct cut_log *log, struct file *file, uint64_t n_free_blocks);
/* The file is as it was created again; the log stays. */
void cut_log_stop(struct cut_log *log);
/* Calls judge for the states; returns how many it found bad. */
uint64_t cut_log_judge(struct cut_log *log, uint64_t seed,
		       bool (*judge)(struct file *state, void *opaque), void *opaque,
		       uint64_t *n_states);
void cut_log_free(struct cut_log *log);

#endif
