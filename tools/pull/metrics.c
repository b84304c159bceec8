/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * When to write, and the rows that are written. An image's label is its name as
 * it was given; one that was given twice has one row, since two with equal
 * labels would make the file invalid.
 *
 * The owner's loop writes: a file system that hangs makes the pull wait. A
 * thread of its own was rejected, which would have to share every image's state.
 */
#include "tools/pull/metrics.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/pull/metrics_text.h"
#include "tools/words/text_file.h"

#define METRICS_SECOND_NS   INT64_C(1000000000)
#define METRICS_INTERVAL_NS (2 * METRICS_SECOND_NS)

/* An image's bytes at the last writing, for its rate. */
struct metrics_past {
	uint64_t moved;
	int64_t ns; /* 0: it did not run then */
};

struct metrics {
	const char *path;
	char *temp_path;
	char *file; /* the path's last part, escaped */
	struct metrics_row *rows;
	struct metrics_past *past; /* as many */
	unsigned n_rows;
	int64_t next_ns, began_s;
	bool failed; /* the last writing did */
};

/* An image's disk is gone when it has ended; its last numbers are in the image then. */
static void metrics_look(struct metrics_row *row, struct metrics_past *past, int64_t now_ns)
{
	uint64_t moved;

	row->info = (struct bpull_job_info){ .size = sizeof(row->info) };
	if (row->image->state == PULL_RUNNING)
		bpull_job_get_info(row->image->disk, &row->info);
	else if (row->image->info.type)
		row->info = row->image->info;
	moved = row->info.copied_bytes + row->info.cloned_bytes;
	if (past->ns && now_ns > past->ns)
		row->rate = (moved - past->moved) / ((now_ns - past->ns) / 1e9);
	past->moved = moved;
	past->ns = row->image->state == PULL_RUNNING ? now_ns : 0;
}

static int metrics_write(struct metrics *metrics, int code)
{
	int64_t now_ns = (int64_t)monotonic_ns();
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool had_failed = metrics->failed;
	int rc;

	metrics->next_ns = now_ns + METRICS_INTERVAL_NS;
	if (out) {
		for (unsigned i = 0; i < metrics->n_rows; i++)
			metrics_look(&metrics->rows[i], &metrics->past[i], now_ns);
		metrics_text_put(out, metrics->file, metrics->rows, metrics->n_rows,
				 metrics->began_s, code);
	}
	/* Not durably: after a power cut these numbers are of no use. */
	rc = !out || fclose(out)
		     ? -ENOMEM
		     : text_file_replace(metrics->path, metrics->temp_path, text, len, false);
	free(text);
	metrics->failed = rc;
	return had_failed ? 0 : rc;
}

static int metrics_compare(const void *a, const void *b)
{
	const struct metrics_row *one = *(const struct metrics_row *const *)a;
	const struct metrics_row *other = *(const struct metrics_row *const *)b;
	int order = strcmp(one->label, other->label);

	/* Among equals the first in order stays the first. */
	return order ? order : one < other ? -1 : 1;
}

/* Frees the labels that an earlier row has, too. 0 or -ENOMEM. */
static int metrics_drop_repeated(struct metrics *metrics)
{
	struct metrics_row **sorted = calloc(metrics->n_rows, sizeof(struct metrics_row *));
	const char *last = NULL;

	if (!sorted)
		return -ENOMEM;
	for (unsigned i = 0; i < metrics->n_rows; i++)
		sorted[i] = &metrics->rows[i];
	qsort(sorted, metrics->n_rows, sizeof(struct metrics_row *), metrics_compare);
	for (unsigned i = 0; i < metrics->n_rows; i++) {
		if (last && !strcmp(last, sorted[i]->label)) {
			free(sorted[i]->label);
			sorted[i]->label = NULL;
		} else {
			last = sorted[i]->label;
		}
	}
	free(sorted);
	return 0;
}

static void metrics_free(struct metrics *metrics)
{
	for (unsigned i = 0; metrics->rows && i < metrics->n_rows; i++)
		free(metrics->rows[i].label);
	free(metrics->rows);
	free(metrics->past);
	free(metrics->temp_path);
	free(metrics->file);
	free(metrics);
}

struct metrics *metrics_open(const char *path, const struct pull_image *images, unsigned n_images)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));
	const char *slash = strrchr(path, '/');
	bool is_short;

	if (!metrics)
		return NULL;
	metrics->path = path;
	metrics->began_s = time(NULL);
	metrics->next_ns = (int64_t)monotonic_ns();
	metrics->n_rows = n_images;
	metrics->rows = calloc(n_images, sizeof(*metrics->rows));
	metrics->past = calloc(n_images, sizeof(*metrics->past));
	metrics->temp_path = text_file_temp(path);
	if (metrics->temp_path)
		unlink(metrics->temp_path); /* a killed command's: metrics_file_check() looked */
	metrics->file = metrics_text_escape(slash ? slash + 1 : path);
	is_short = !metrics->rows || !metrics->past || !metrics->temp_path || !metrics->file;
	for (unsigned i = 0; metrics->rows && i < n_images; i++) {
		metrics->rows[i].image = &images[i];
		metrics->rows[i].rate = -1;
		metrics->rows[i].label = metrics_text_escape(images[i].path);
		is_short |= !metrics->rows[i].label;
	}
	if (is_short || metrics_drop_repeated(metrics)) {
		metrics_free(metrics);
		return NULL;
	}
	return metrics;
}

int metrics_timeout_ms(const struct metrics *metrics)
{
	int64_t left_ns;

	if (!metrics)
		return -1;
	left_ns = metrics->next_ns - (int64_t)monotonic_ns();
	return left_ns > 0 ? left_ns / 1000000 + 1 : 0;
}

int metrics_update(struct metrics *metrics)
{
	if (!metrics || (int64_t)monotonic_ns() < metrics->next_ns)
		return 0;
	return metrics_write(metrics, METRICS_TEXT_RUNNING);
}

int metrics_close(struct metrics *metrics, int code)
{
	int rc;

	if (!metrics)
		return 0;
	rc = metrics_write(metrics, code);
	metrics_free(metrics);
	return rc;
}
