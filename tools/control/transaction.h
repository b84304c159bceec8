/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* transaction: several snapshots, all or none. */
#ifndef TOOLS_CONTROL_TRANSACTION_H
#define TOOLS_CONTROL_TRANSACTION_H

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

extern const struct control_arg control_transaction_args[];

struct json_object *control_transaction(struct control_target *target, struct json_object *args);

#endif
