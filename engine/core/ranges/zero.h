/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Looking for zeros. */
#ifndef BLOCKPULL_CORE_ZERO_H
#define BLOCKPULL_CORE_ZERO_H

#include <stdbool.h>
#include <stddef.h>

#include "io/base.h"

/* All len bytes are zero. len is a multiple of 64. */
bool zero_is(const void *buf, size_t len);

#endif
