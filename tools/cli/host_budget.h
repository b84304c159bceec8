/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* --host-budget FILE[:RATE]. */
#ifndef TOOLS_CLI_HOST_BUDGET_H
#define TOOLS_CLI_HOST_BUDGET_H

#include "engine/blockpull.h"

struct budget;

/* A row for a table of long options; what it takes is in offer_shared. */
#define HOST_BUDGET_OPTION                                                  \
	{                                                                   \
		"host-budget", required_argument, NULL, OPTIONS_HOST_BUDGET \
	}

/* Opens the budget that an option's value names, and has the engine that is opened with these
 * options ask it; before the sandbox closes. NULL: no option was given, and there is none. 0, or an
 * exit code after saying what is wrong. */
int host_budget_open(const char *text, struct bpull_engine_options *engine, struct budget **out);
/* Says what is wrong with its file, if that is new. NULL is allowed. */
void host_budget_say(struct budget *budget);
/* When the engine is closed. NULL is allowed. */
void host_budget_close(struct budget *budget);

#endif
