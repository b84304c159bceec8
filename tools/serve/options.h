/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options of serve. */
#ifndef TOOLS_SERVE_OPTIONS_H
#define TOOLS_SERVE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/cli/command.h"
#include "tools/control/state/names.h"
#include "tools/serve/fence.h"
#include "tools/trace/first.h"

extern const struct command serve_command;

struct budget;

struct serve_options {
	struct command_line line;
	struct bpull_engine_options engine;
	struct bpull_job_options job;
	const char *socket_path; /* or NULL */
	int fd;                  /* where socket_path is NULL */
	bool fd_given;
	const char *image;
	const char *serial;
	const char *control;        /* a socket's path, or NULL */
	struct fence fence;         /* where they may have images made */
	struct control_names names; /* of the chain's files, for its clients */
	const char *trace;          /* a file's path, or NULL */
	struct first first;         /* what the pull copies before the rest */
	unsigned n_queues;
	bool read_only, copy_on_read, pull, incoming;
	const char *host_budget; /* FILE[:RATE], or NULL */
	struct budget *budget;   /* that one, open; or NULL */
	const char *pull_option; /* one that has no meaning without --pull, or NULL */
	bool print_capabilities;
};

#endif
