/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options that say how fast a job may and must be, beside --bandwidth. */
#ifndef TOOLS_CLI_RATES_H
#define TOOLS_CLI_RATES_H

#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/cli/options.h"

/* Rows for a table of long options; what they take is in offer_shared. */
#define RATES_OPTIONS                                                      \
	{ "iops", required_argument, NULL, OPTIONS_IOPS },                 \
		{ "min-rate", required_argument, NULL, OPTIONS_MIN_RATE }, \
	{                                                                  \
		"within", required_argument, NULL, OPTIONS_WITHIN          \
	}

/* The same for a command that serves a guest. */
#define RATES_GUEST_OPTIONS                                             \
	RATES_OPTIONS,                                                  \
	{                                                               \
		"guest-p99", required_argument, NULL, OPTIONS_GUEST_P99 \
	}

/* Takes an option if it is one of these. 0: taken; -1: not one of them; else an exit code after
 * saying what is wrong. */
int rates_take(struct bpull_job_options *job, const char *command, int option, const char *text);
/* The name of an option that was given, and needs a job; NULL: none was. */
const char *rates_given(const struct bpull_job_options *job);

/* A number of requests a second, and a time: 0, or an exit code after saying what is wrong. `name`
 * is what it is the value of. */
int rates_parse_iops(const char *command, const char *name, const char *text, uint64_t *iops);
int rates_parse_time(const char *command, const char *name, const char *text, uint64_t *ns);

#endif
