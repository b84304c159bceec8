/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How the plugin's start ended, told where it is seen. nbdkit forks into the
 * background (or beside the command of --run) before threads can be made, so
 * what fails then fails behind a process that has said exit 0 already.
 */
#ifndef TOOLS_NBDKIT_START_H
#define TOOLS_NBDKIT_START_H

/* Before nbdkit forks. From here on its first process waits for start_tell(), if it forks; where it
 * hears of a failure it says so and exits with 1. 0, or -errno. */
int start_watch(void);
/* From .after_fork, once: message NULL, it serves; else nbdkit is about to end because of it. */
void start_tell(const char *message);

#endif
