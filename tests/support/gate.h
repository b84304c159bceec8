/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The machine's own files, of which one call can be held up: the thread that makes
 * it stops inside, until the test lets it go on. So a test says what happens while
 * a file is waited for, without a clock. Only blocking calls can be held up, not
 * what is submitted.
 */
#ifndef BLOCKPULL_TESTS_GATE_H
#define BLOCKPULL_TESTS_GATE_H

#include "io/file.h"

enum gate_call {
	GATE_OPEN,
	GATE_LOCK_WAIT, /* an open that will wait for a lock */
	GATE_READ,
	GATE_CLOSE,
	GATE_TRUNCATE,
};

struct file_opener *gate_opener(void);
/* The n-th such call from now on (1: the next) on a file whose name ends so is held up. One gate at
 * a time: the one before was opened. */
void gate_shut(enum gate_call call, const char *name_end, unsigned n);
void gate_wait(void); /* until a thread stands at it */
void gate_open(void); /* lets that one go on */

#endif
