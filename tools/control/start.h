/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* block-stream: what a request wants, and the job for it. */
#ifndef TOOLS_CONTROL_START_H
#define TOOLS_CONTROL_START_H

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

extern const struct control_arg control_stream_args[];

/* The verb; its arguments are checked. */
struct json_object *control_block_stream(struct control_target *target, struct json_object *args);

#endif
