/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* getfd: files that clients hand over, where none is opened by its name. */
#ifndef TOOLS_CONTROL_GETFD_H
#define TOOLS_CONTROL_GETFD_H

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

extern const struct control_arg control_getfd_args[];

struct json_object *control_getfd(struct control_target *target, struct json_object *args);

#endif
