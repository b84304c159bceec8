/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A trace as a picture: time to the right, the disk from its beginning up. */
#ifndef TOOLS_TRACE_PICTURE_H
#define TOOLS_TRACE_PICTURE_H

#include "tools/trace/trace.h"

/* SVG, by a call of print() for each line. */
void picture_draw(const struct trace *trace,
		  void (*print)(const char *format, ...) __attribute__((format(printf, 1, 2))));

#endif
