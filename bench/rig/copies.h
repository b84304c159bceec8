/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What pulls are measured against: the same bytes copied plainly into a new file.
 */
#ifndef BENCH_RIG_COPIES_H
#define BENCH_RIG_COPIES_H

#include <stdint.h>

#define COPIES_CHUNK_LEN (1u << 20)

enum copies_method {
	COPIES_CEILING, /* 1 MiB pread and pwrite, fallocate, write-back started every 8 MiB */
	COPIES_REF,     /* io_uring, 16 times 1 MiB in flight, written with O_DIRECT */
};

struct copies_job {
	enum copies_method method;
	const char *from, *to; /* `from` is whole MiB; `to` is made anew */
	/* Told how many bytes are written, now and then; may be NULL. */
	void (*progress)(void *opaque, uint64_t done_len);
	void *opaque;
};

/* The best of them that this kernel allows: where a sandbox forbids io_uring there is one. */
enum copies_method copies_best(void);

/* Copies until all is durable. 0 or -errno, and *what is what failed. */
int copies_run(const struct copies_job *job, const char **what);

#endif
