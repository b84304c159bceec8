/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_OVERLAY_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_OVERLAY_H

#include "engine/blockpull.h"

/* Makes an empty overlay over a raw base, both names in the scratch directory; fails the test if it
 * can't. */
void make_overlay(const char *name, enum bpull_format format, const char *base);

#endif
