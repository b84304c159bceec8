/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The head of every result: figures of different machines don't compare, so each
 * says where it is from.
 */
#ifndef BENCH_RIG_MACHINE_H
#define BENCH_RIG_MACHINE_H

#include <json-c/json_object.h>

/* {"tool", "version", "kind", "machine": {...}}; `machine` describes the current directory's file
 * system too. */
struct json_object *machine_head(const char *kind);
/* Prints it on stdout and releases it. 0 or an exit code. */
int machine_print(struct json_object *result);

#endif
