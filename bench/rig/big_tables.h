/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A qcow2 image whose every cluster is mapped and counted, and of whose data
 * nothing is there: its tables take all its space. Terabytes in a few seconds.
 */
#ifndef BENCH_RIG_BIG_TABLES_H
#define BENCH_RIG_BIG_TABLES_H

#include <stdint.h>

#define BIG_TABLES_MIN_LEN (UINT64_C(1) << 29)
#define BIG_TABLES_MAX_LEN (UINT64_C(1) << 43) /* what files of ext4 have room for */

/* Makes the image for a guest's disk of `len` bytes, rounded up to 512 MiB, with a raw backing file
 * (NULL: none). 0 or an exit code. */
int big_tables_make(const char *name, uint64_t len, const char *backing);
/* Bytes of its tables. */
uint64_t big_tables_len(uint64_t len);

#endif
