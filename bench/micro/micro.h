/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-microbench: the few functions that run once a cluster or a request, alone. Unlike
 * the rest of bench/ it links the library's insides, as unit tests do, and is not
 * installed.
 */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdint.h>

/* One of them. run() does its work `n` times and returns 0 or -errno; what it works on is made by
 * open() and kept in static variables of its file: there is one of each. */
struct micro {
	const char *name, *unit;
	uint64_t per_run; /* units that one time is */
	int (*run)(uint64_t n);
};

extern const struct micro micro_tables[], micro_bytes[], micro_guest[];
extern const unsigned n_micro_tables, n_micro_bytes, n_micro_guest;

/* An image in a file without a name, below `dir`; random and compressible bytes. 0 or -errno. */
int micro_tables_open(const char *dir);
void micro_tables_close(void);
int micro_bytes_open(void);
void micro_bytes_close(void);
/* A disk whose image has no name, below `dir`. 0 or -errno. */
int micro_guest_open(const char *dir);
void micro_guest_close(void);

#endif
