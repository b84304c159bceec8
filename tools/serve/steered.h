/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What clients of the control socket can do to the server's disk. */
#ifndef TOOLS_SERVE_STEERED_H
#define TOOLS_SERVE_STEERED_H

#include "tools/control/control.h"
#include "tools/serve/image.h"
#include "tools/serve/options.h"
#include "tools/serve/port.h"

/* Lives as long as the target does. */
struct steered {
	struct port *port;
	struct image *image;
	const struct serve_options *options;
	struct bpull_disk_options others; /* how files are opened that clients name */
};

/* The disk as the control socket sees it. `job` is what a client's leaves open. */
struct control_target steered_target(struct steered *steered, const struct bpull_job_options *job);

#endif
