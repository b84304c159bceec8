/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Signals of a pull. The first SIGINT, SIGTERM or SIGHUP asks for a clean stop,
 * the second exits at once; SIGUSR1 asks for a line of progress, SIGCONT for a
 * pull that an error stopped to go on.
 */
#ifndef TOOLS_STOP_H
#define TOOLS_STOP_H

#include <stdbool.h>

/* Installs the handlers. Returns a descriptor that is readable after a signal, or -errno. */
int stop_install(void);
/* Empties the descriptor: call it when it was readable, before looking at the two below. */
void stop_drain(void);
/* The signal that asked for a stop, or 0. */
int stop_signal(void);
/* Did SIGCONT come since the last call? */
bool stop_take_go_on(void);
/* Was a line of progress asked for since the last call? */
bool stop_take_report_wish(void);

#endif
