/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The check of a qcow2 image: counts the references to every host cluster and
 * compares them with the refcounts. Read-only, blocking, in bounded memory.
 *
 * Counters exist for one window of the file at a time (the target), so that a
 * huge image costs passes, not memory. In each pass an L2 table is walked once,
 * weighted with the number of L1 entries that refer to it, which are counted
 * in a window of their own (the source): walking it once for each reference is
 * simpler, and lets a 1 MiB file with 100000 references to one table keep us
 * busy for hours. What an image claims about itself never sizes anything here;
 * the length of its file does.
 */
#include "formats/qcow2/check/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/meta.h"
#include "formats/qcow2/check/refs.h"
#include "formats/qcow2/check/report.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/check/walk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"

static void window_move(struct check_window *window, uint64_t first, uint64_t max_n, uint64_t end)
{
	window->first = first;
	window->n = MIN(max_n, end - first);
	blocking_begin();
	memset(window->counts, 0, window->n * sizeof(*window->counts));
	blocking_end();
}

/* Everything that refers into one target window, and the comparison. */
static int check_target(struct qcow2_check *c, uint64_t first, uint64_t window_clusters)
{
	int rc;

	window_move(&c->target, first, window_clusters, c->n_host);
	c->first_target = first == 0;
	rc = c->refs_only ? 0 : check_load_refcounts(c);
	if (!rc)
		rc = check_count_metadata(c);
	for (uint64_t from = 0; !rc && from < c->l2_end; from += window_clusters) {
		window_move(&c->source, from, window_clusters, c->n_host);
		c->first_source = from == 0;
		rc = check_walk_source(c);
	}
	return rc ? rc : c->window_counted(c);
}

int check_run(struct qcow2_check *c, uint64_t window_clusters)
{
	uint64_t first = 0;
	int rc = check_load_snapshots(c);

	if (!rc)
		rc = check_find_l2_end(c);
	/* Each pass meets every reference: after the first one refs_end is final. A sparse file of
	 * exabytes is not walked to its end. */
	do {
		if (!rc)
			rc = check_target(c, first, window_clusters);
		first += window_clusters;
	} while (!rc && first < c->refs_end);
	c->result->refs_end_off = c->refs_end << c->q->cluster_bits;
	return rc || first >= c->n_host || !c->beyond ? rc : c->beyond(c, first);
}

void check_free(struct qcow2_check *c)
{
	blocking_begin();
	free(c->target.counts);
	free(c->source.counts);
	free(c->refcount_is_one);
	free(c->snapshots.list);
	free(c);
	blocking_end();
}

struct qcow2_check *check_new(struct qcow2 *q, struct check_result *result, uint64_t window)
{
	struct qcow2_check *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->q = q;
	c->file = q->layer.file;
	c->result = result;
	c->window_counted = check_compare_refcounts;
	c->beyond = check_unreferenced;
	/* A range may end up to a cluster behind the file, which may end within a cluster. */
	c->n_host = (c->file->len >> q->cluster_bits) + 1;
	window = MIN(window, c->n_host);
	c->target.counts = malloc(window * sizeof(*c->target.counts));
	c->source.counts = malloc(window * sizeof(*c->source.counts));
	c->refcount_is_one = malloc(div_round_up(window, 8));
	if (c->target.counts && c->source.counts && c->refcount_is_one)
		return c;
	check_free(c);
	return NULL;
}

/* A table that the file's end cuts off may have had entries there. Without leaks it had none: QEMU
 * writes a table no longer than it is. */
static void judge_cut(struct qcow2_check *c)
{
	if (!c->reads_beyond || !c->result->n_leaks)
		return;
	c->result->n_cut++;
	check_error(c,
		    "the file ends inside a table: %" PRIu64
		    " clusters that nothing refers to may be "
		    "what its lost entries led to",
		    c->result->n_leaks);
}

int qcow2_check_windowed(struct layer *layer, struct check_result *result, struct err *err,
			 uint64_t window_clusters)
{
	struct qcow2 *q = qcow2_of(layer);
	struct qcow2_check *c = check_new(q, result, window_clusters);
	int rc = -ENOMEM;

	if (c) {
		result->n_total_clusters = div_round_up(layer->guest_len, layer->cluster_len);
		rc = check_run(c, window_clusters);
		judge_cut(c);
	}
	if (c)
		check_free(c);
	if (rc == -ENOMEM)
		return err_set(err, rc, "out of memory for checking an image");
	/* Whatever could not be read has been reported and counted. */
	return 0;
}

int qcow2_check(struct layer *layer, struct check_result *result, struct err *err)
{
	return qcow2_check_windowed(layer, result, err, CHECK_WINDOW_CLUSTERS);
}
