/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What was asked of a disk, in QMP's words. */
#ifndef TOOLS_CONTROL_STATS_H
#define TOOLS_CONTROL_STATS_H

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/control/state/target.h"

/* QEMU's BlockDeviceStats; the caller puts it. */
struct json_object *control_stats_describe(const struct bpull_disk_stats *stats);
/* query-blockstats' list by nodes: the counters are those of the image's. */
struct json_object *control_stats_of_nodes(const struct control_target *target,
					   const struct bpull_disk_stats *stats);

#endif
