/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where new L2 tables lie: together, a few at a time. On a sparse disk every
 * island of data needs a table of its own, and tables between the islands cut
 * what is copied into as many writes: with 64 MiB in 1,024 islands the pull
 * took a fifth longer.
 *
 * What is set aside is neither counted nor written, so that none of it leaks, and
 * is no more than the tables that the pull under way has still to make, so that
 * the image grows no longer than measured. Writing tables and data to two ends of
 * the file was rejected: a file has one end.
 */
#include "formats/qcow2.h"

#define MAX_ASIDE 64u

void qcow2_give_up_aside(struct qcow2 *q)
{
	uint64_t off = q->aside_off, end = q->aside_end;

	q->aside_off = q->aside_end = 0;
	if (off < end)
		qcow2_release(&q->layer, off, end - off);
}

/* One cluster, and some behind it that stay for the next ones. */
static int set_aside(struct qcow2 *q)
{
	uint64_t n = MIN(MAX(q->layer.tables_wanted, UINT64_C(1)), (uint64_t)MAX_ASIDE), got;
	int rc = qcow2_reserve(&q->layer, n << q->cluster_bits, &q->aside_off, &got);

	if (rc)
		return rc;
	q->aside_end = q->aside_off + got;
	return 0;
}

int qcow2_reserve_table(struct qcow2 *q, uint64_t *l2_off, struct table_need *need)
{
	int rc = q->aside_off < q->aside_end ? 0 : set_aside(q);

	if (!rc)
		rc = qcow2_ref_need(q, q->aside_off, q->layer.cluster_len, need);
	if (rc)
		return rc;
	*l2_off = q->aside_off;
	q->aside_off += q->layer.cluster_len;
	q->layer.tables_wanted -= q->layer.tables_wanted != 0;
	return 0;
}
