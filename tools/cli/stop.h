/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the command does with signals: the table is in stop.c, its description in
 * blockpull(1). The first signal that ends a process asks a pull for a clean
 * stop, the second exits at once; SIGUSR1 asks for a line of progress, SIGCONT
 * for a pull that an error stopped to go on. A closed pipe (SIGPIPE) and the
 * limit on file sizes (SIGXFSZ) are errors of the calls that meet them.
 */
#ifndef TOOLS_CLI_STOP_H
#define TOOLS_CLI_STOP_H

#include <signal.h>
#include <stdbool.h>

/* For every command, before anything is written: ignores what is no reason to end. */
void stop_prepare(void);
/* For commands that can stop in order: installs the handlers. Once.
 * Returns a descriptor that is readable after a signal, or -errno. */
int stop_install(void);
/* Empties the descriptor: call it when it was readable, before looking at the two below. */
void stop_drain(void);
/* The signals that end a process by default and are no fault of its own, but for those it was told
 * to ignore. */
void stop_ends(sigset_t *ends);
/* For commands that can't, around what is short and must not be left half done: these signals wait
 * until `hold` is false again. */
void stop_hold(bool hold);
/* The signal that asked for a stop, or 0. */
int stop_signal(void);
/* SIGCONT came since the last call. */
bool stop_take_go_on(void);
/* A line of progress was asked for since the last call. */
bool stop_take_report_wish(void);

#endif
