/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* getfd, closefd: files that clients hand over, where none is opened by its name. */
#ifndef TOOLS_CONTROL_GETFD_H
#define TOOLS_CONTROL_GETFD_H

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

struct control_handed;

extern const struct control_arg control_getfd_args[]; /* of both */

struct json_object *control_getfd(struct control_target *target, struct json_object *args);
struct json_object *control_closefd(struct control_target *target, struct json_object *args);
/* Requests, jobs or this client's end may have changed what is needed of what was handed over. */
void control_files_settle(struct control_target *target, const struct control_handed *gone);

#endif
