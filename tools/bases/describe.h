/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What control sockets tell of servers, and where names lead. */
#ifndef TOOLS_BASES_DESCRIBE_H
#define TOOLS_BASES_DESCRIBE_H

#include "tools/bases/bases.h"

struct json_object;

/* An array with an object for each server that is or was read, after bases_open(). The caller's.
 * Any thread. */
struct json_object *bases_describe(const struct bases *bases);
/* What --map-backing has for a name as an image records it, as the user typed it; NULL: nothing. It
 * stays while the options do. */
const char *bases_mapped_to(const struct bases *bases, const char *recorded);

#endif
