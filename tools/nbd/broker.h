/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A process that looks up and connects for one that may not. Each place that it is told of gets a
 * channel of its own, over which nothing can be asked for but another connection to that place.
 */
#ifndef TOOLS_NBD_BROKER_H
#define TOOLS_NBD_BROKER_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "tools/nbd/dial.h"
#include "tools/nbd/names/place.h"
#include "tools/nbd/names/policy.h"

struct broker;

/* Forks. The child has the policy as it is now. 0, or -errno and a sentence. */
int broker_start(const struct nbd_policy *policy, struct broker **broker,
		 struct bpull_error *error);
/* Tells it of a place: a way to there. is_operators: no policy is asked. 0, or -ENAMETOOLONG,
 * -EPIPE the broker is gone, -EPERM it is sealed, -EMFILE, -ENOMEM. */
int broker_add(struct broker *broker, const struct nbd_place *place, bool is_operators,
	       struct dial_way *way);
/* It takes no more places. */
void broker_seal(struct broker *broker);
/* The child ends when the last way is freed, too. NULL is allowed. */
void broker_free(struct broker *broker);

#endif
