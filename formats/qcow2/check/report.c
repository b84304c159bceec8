/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How the check reports what it finds, and reads what it checks. */
#include "formats/qcow2/check/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/state.h"
#include "io/base.h"
#include "io/file.h"

static void vreport(struct qcow2_check *c, bool is_leak, const char *format, va_list args)
{
	char text[512];

	if (!check_wants_text(c))
		return;
	c->n_reports++;
	vsnprintf(text, sizeof(text), format, args);
	c->result->report(c->result->opaque, is_leak, text);
}

void check_error(struct qcow2_check *c, const char *format, ...)
{
	va_list args;

	c->result->n_errors++;
	va_start(args, format);
	vreport(c, false, format, args);
	va_end(args);
}

void check_stale(struct qcow2_check *c, const char *format, ...)
{
	va_list args;

	c->result->n_errors++;
	c->result->n_stale++;
	va_start(args, format);
	vreport(c, false, format, args);
	va_end(args);
}

void check_leak(struct qcow2_check *c, const char *format, ...)
{
	va_list args;

	c->result->n_leaks++;
	va_start(args, format);
	vreport(c, true, format, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3))) static void check_incomplete(struct qcow2_check *c,
								   const char *format, ...)
{
	va_list args;

	c->result->n_check_errors++;
	if (!c->result->incomplete[0]) {
		va_start(args, format);
		vsnprintf(c->result->incomplete, sizeof(c->result->incomplete), format, args);
		va_end(args);
	}
	va_start(args, format);
	vreport(c, false, format, args);
	va_end(args);
}

int check_read(struct qcow2_check *c, const char *what, void *buf, size_t len, uint64_t host_off)
{
	int rc = file_read_padded(c->file, buf, len, host_off);

	c->reads_beyond |= host_off > c->file->len || len > c->file->len - host_off;
	if (rc)
		check_incomplete(c,
				 "cannot read %s at offset %#" PRIx64 ": %s; the check ends here",
				 what, host_off, strerror(-rc));
	return rc;
}
