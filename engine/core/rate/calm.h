/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Whether a file system makes its writers wait. ext4 can't be asked: now and then a write waits for
 * its journal, or while too much is in the page cache. While none does, a thread that must not be
 * held up may write by itself. After a write that took long it leaves writing to other threads for
 * a pause. If the next long write follows soon after a pause, the new pause is twice as long.
 *
 * Pure.
 */
#ifndef BLOCKPULL_CORE_CALM_H
#define BLOCKPULL_CORE_CALM_H

#include <stdbool.h>
#include <stdint.h>

/* Longer than a write into the page cache takes; shorter than what a guest notices. */
#define CALM_LONG_NS      UINT64_C(2000000)
#define CALM_PAUSE_NS     UINT64_C(100000000)
#define CALM_MAX_PAUSE_NS UINT64_C(10000000000)

/* Zero-initialised: no write has taken long yet. */
struct calm {
	uint64_t pause_ns; /* how long the last pause was; 0: there was none */
	uint64_t until_ns; /* its end */
};

/* No pause is under way: a thread that has more to do may write by itself. */
bool calm_may_write(const struct calm *calm, uint64_t now_ns);
/* A write began and ended at these times. A long one begins a pause. */
void calm_note(struct calm *calm, uint64_t began_ns, uint64_t ended_ns);

#endif
