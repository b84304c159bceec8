/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* glibc's TEMP_FAILURE_RETRY(), which musl lacks: repeats a call that a signal interrupted. */
#ifndef TOOLS_SOCKETS_RETRY_H
#define TOOLS_SOCKETS_RETRY_H

#include <errno.h>
#include <unistd.h>

#ifndef TEMP_FAILURE_RETRY
#define TEMP_FAILURE_RETRY(call)                      \
	({                                            \
		__typeof__(call) got_;                \
		do                                    \
			got_ = (call);                \
		while (got_ == -1 && errno == EINTR); \
		got_;                                 \
	})
#endif

#endif
