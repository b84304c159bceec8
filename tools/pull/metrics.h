/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a pull does, as metrics in Prometheus' text format, for node_exporter's
 * textfile collector or whatever reads that. Documented in blockpull-pull(1):
 * names and labels are a contract.
 */
#ifndef TOOLS_PULL_METRICS_H
#define TOOLS_PULL_METRICS_H

#include "tools/pull/image.h"

struct metrics;

/* Keeps `path` and reads the images, both the caller's, until metrics_close(). NULL: no memory. */
struct metrics *metrics_open(const char *path, const struct pull_image *images, unsigned n_images);
/* Milliseconds until metrics_update() has something to do, for poll(); -1: never (NULL). */
int metrics_timeout_ms(const struct metrics *metrics);
/* Writes the file if that is due. 0, or -errno the first time that it fails, and the first time
 * after it worked again. */
int metrics_update(struct metrics *metrics);
/* Writes it for the last time, with the exit code, and frees. 0 or -errno likewise. NULL: 0. */
int metrics_close(struct metrics *metrics, int code);

#endif
