/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How the check reports what it finds, and reads what it checks. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_REPORT_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "formats/qcow2/check/check.h"
#include "io/base.h"

struct qcow2_check;

/* Counts an error, and reports it if the caller wants more reports. */
void check_error(struct qcow2_check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same for a COPIED flag that is clear without need. */
void check_stale(struct qcow2_check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void check_leak(struct qcow2_check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Reads a piece of a table, zeros past the end of the file. 0 or -errno, already reported. */
int check_read(struct qcow2_check *c, const char *what, void *buf, size_t len, uint64_t host_off);

#endif
