/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The engine's clock. */
#ifndef BLOCKPULL_CORE_CLOCK_H
#define BLOCKPULL_CORE_CLOCK_H

#include <stdint.h>

#include "io/base.h"

/* The monotonic clock, or the simulated machine's. */
uint64_t engine_now_ns(void);

#endif
