/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How long a job's runs are while a guest is at work. All requests that are there when a run takes
 * their processor or device wait for it, and few that come later: at the same rate of copying, long
 * runs meet fewer requests than short ones. But those wait longer, and so do requests for the
 * run's clusters. So runs are as long as they can be while each takes a millisecond or so. Pure.
 */
#ifndef BLOCKPULL_CORE_BESIDE_H
#define BLOCKPULL_CORE_BESIDE_H

#include <stdint.h>

#include "io/base.h"

/* Bytes. */
#define BESIDE_MIN_LEN (256 * KiB)
#define BESIDE_MAX_LEN (1024 * KiB)

/* A run that takes less time is short, and one that takes more is long. */
#define BESIDE_SHORT_NS UINT64_C(500000)
#define BESIDE_LONG_NS  UINT64_C(2000000)

/* How many bytes the next run takes at most. len: the limit so far; run_len, took_ns: the length
 * and time of a run that has ended. A fast run raises the limit only if it was more than half as
 * long as that allows. */
uint64_t beside_next_len(uint64_t len, uint64_t run_len, uint64_t took_ns);

#endif
