/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* qemu-storage-daemon as a peer: one job from its start to its end. */
#ifndef BENCH_RIG_QSD_H
#define BENCH_RIG_QSD_H

#include <stdbool.h>

/* It can be run here. */
bool qsd_is_there(void);
/* Runs it with these arguments (NULL ends them; its monitor is added), starts the job by `start`, a
 * QMP command whose job is called "j", completes it when it is ready, waits for its end, and until
 * the program has closed its files. 0 or an exit code. */
int qsd_run_job(const char *const *arguments, const char *start);

#endif
