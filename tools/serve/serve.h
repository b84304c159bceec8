/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The server, from the image's opening to its close. */
#ifndef TOOLS_SERVE_SERVE_H
#define TOOLS_SERVE_SERVE_H

#include "tools/serve/options.h"

/* Returns the exit code. */
int serve_run(struct serve_options *options);

#endif
