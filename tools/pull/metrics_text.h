/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Metrics of a pull in Prometheus' text format. */
#ifndef TOOLS_PULL_METRICS_TEXT_H
#define TOOLS_PULL_METRICS_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include "tools/pull/image.h"

#define METRICS_TEXT_RUNNING (-1) /* in place of an exit code */

/* An image as it is now. */
struct metrics_row {
	char *label; /* escaped; NULL: another row has the same, and this one is left out */
	const struct pull_image *image;
	struct bpull_job_info info;
	double rate; /* bytes copied or cloned a second; negative: not known */
};

/* A label's value as the format demands it: UTF-8, with the backslash, the quote and the newline
 * escaped. Free it; NULL: no memory. */
char *metrics_text_escape(const char *name);
/* Writes all of it. `file`: the name of the file that it is for, escaped. `began_s`: since 1970. */
void metrics_text_put(FILE *out, const char *file, const struct metrics_row *rows, unsigned n_rows,
		      int64_t began_s, int code);

#endif
