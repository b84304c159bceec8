/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_COPY_PUBLISH_H
#define BLOCKPULL_COPY_PUBLISH_H

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* The phase PUBLISH. */
enum step copy_run_publish(struct copy_run *p);

#endif
