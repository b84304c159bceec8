/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What control sockets tell of servers. */
#ifndef TOOLS_BASES_DESCRIBE_H
#define TOOLS_BASES_DESCRIBE_H

#include "tools/bases/bases.h"

struct json_object;

/* An array with an object for each server that is or was read, after bases_open(). The caller's.
 * Any thread. */
struct json_object *bases_describe(const struct bases *bases);

#endif
