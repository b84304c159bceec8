/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a server of a disk tells of the servers that it reads bases from. */
#ifndef TOOLS_SERVE_SERVERS_H
#define TOOLS_SERVE_SERVERS_H

#include <stdbool.h>

#include "tools/bases/bases.h"

/* Has the epoll tell of changes; nothing, where there are no such bases. 0 or -errno. */
int servers_watch(const struct bases *bases, int epoll_fd);
/* Says which were lost and which are back since the last call. */
void servers_tell(struct bases *bases, bool quiet);

#endif
