/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench's messages for people: one line each on stderr, made safe as a
 * whole. tools/cli/say.c was not used: its lines begin with the other program's name.
 */
#ifndef BENCH_RIG_COMPLAIN_H
#define BENCH_RIG_COMPLAIN_H

#include "engine/blockpull.h"

/* "blockpull-bench: <sentence>". Returns exit_code. */
int complain(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with a pointer to --help (`command` NULL: of the program). Returns EXIT_CODE_USAGE. */
int complain_usage(const char *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* What the library said, behind `what` ("pull"). Returns the exit code for rc. */
int complain_library(const char *what, const struct bpull_error *error, int rc);
/* A system call failed on `what`: errno is told. Returns the exit code for errno. */
int complain_system(const char *what);

#endif
