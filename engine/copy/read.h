/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that read and decode. */
#ifndef BLOCKPULL_COPY_READ_H
#define BLOCKPULL_COPY_READ_H

#include <stdint.h>

#include "engine/copy/readers.h"
#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;
struct decode;
struct shared_range;

/* What a run takes from other jobs' runs, and keeps for them (shared_read.c). */
struct run_shared {
	struct shared_range *ranges;
	unsigned n, n_max;
	bool is_off; /* another job's read failed: the run reads all itself */
};

/* What a run reads. */
struct run_read {
	unsigned n_reqs;    /* of the run's requests, that read */
	uint8_t *comp_buf;  /* compressed input */
	uint32_t comp_held; /* bytes of it: counted in engine->comp_len */
	struct decode *decodes;
	unsigned n_decodes;
	uint64_t begun_ns; /* 0: nothing was read yet */
	bool is_of_source; /* a copy that follows a guest's read has read of a source */
	struct run_shared shared;
	struct run_readers readers;
};

/* The phase READ. */
enum step copy_run_read(struct copy_run *p);
/* The phase DECODE. */
enum step copy_run_decode(struct copy_run *p);

#endif
