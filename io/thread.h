/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads of the library in a program that is not ours. */
#ifndef BLOCKPULL_THREAD_H
#define BLOCKPULL_THREAD_H

#include <pthread.h>

/*
 * As pthread_create(), 0 or -errno. The thread blocks all signals, which the program's own threads
 * take, but SIGBUS and SIGSEGV: these are faults of the thread itself. A program whose guest may
 * take memory away (a file that is cut short) has a handler for them, and the kernel ends a process
 * that blocks a fault.
 */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
