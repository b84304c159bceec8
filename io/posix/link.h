/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Links that lead to block devices. */
#ifndef BLOCKPULL_IO_POSIX_LINK_H
#define BLOCKPULL_IO_POSIX_LINK_H

#include <limits.h>
#include <stdbool.h>

struct path_policy;
struct stat;

/* True: `name` leads to the block device *target over a link in a directory that the policy names,
 * where no other user can have put it. link_name is set to the first such link in any directory, or
 * "". */
bool posix_link_allowed(const struct path_policy *policy, const char *name,
			const struct stat *target, char link_name[PATH_MAX]);

#endif
