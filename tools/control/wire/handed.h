/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef TOOLS_CONTROL_HANDED_H
#define TOOLS_CONTROL_HANDED_H

#include <stdbool.h>

/* A descriptor that came with a client's bytes, and that no request has taken. */
struct control_handed {
	int fd;
	bool is_there;
};

#endif
