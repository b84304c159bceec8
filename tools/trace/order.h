/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One trace of several: each byte once, where the first of them touched it. */
#ifndef TOOLS_TRACE_ORDER_H
#define TOOLS_TRACE_ORDER_H

#include "tools/trace/trace.h"

/* Makes *out of all ranges, by time. 0 or -ENOMEM, with nothing to be freed. */
int trace_merge(const struct trace *traces, size_t n, struct trace *out);

#endif
