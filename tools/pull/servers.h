/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a pull tells of the servers from which it reads bases behind a network. */
#ifndef TOOLS_PULL_SERVERS_H
#define TOOLS_PULL_SERVERS_H

#include <stdbool.h>

#include "tools/bases/bases.h"
#include "tools/pull/progress.h"

/* Says which were lost and which are back since the last call: a line on stderr for each, or with
 * PROGRESS_JSON one on stdout, which `quiet` does not keep back. */
void servers_say_changes(struct bases *bases, struct progress *progress, bool quiet);
/* Puts what came from all of them, and the worst state, into *now. */
void servers_add(const struct bases *bases, struct progress_now *now);
/* For an image's end: what came from all of them by then. NULL: there are none. */
struct json_object *servers_json_total(const struct bases *bases);

#endif
