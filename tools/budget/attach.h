/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A budget as users name it, FILE[:RATE], for an engine that is opened later. */
#ifndef TOOLS_BUDGET_ATTACH_H
#define TOOLS_BUDGET_ATTACH_H

#include "engine/blockpull.h"
#include "tools/budget/budget.h"

/* Opens what the text names, and has the engine that is opened with these options ask it. 0, or
 * -errno with a sentence. Takes SIGBUS for the whole process. */
int budget_attach(const char *text, struct bpull_engine_options *engine, struct budget **out,
		  char why[BUDGET_WHY_CAP]);
/* When the engine is closed. NULL is allowed. */
void budget_detach(struct budget *budget);

#endif
