/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A bit for each L2 slice that is known to hold no entry. Most of a sparse
 * disk's hold none, and a pull walks them three times: to count, to copy, to
 * prove. In an image that is written, too: a caller that asks for a slice to change
 * it takes the bit away first, and with snapshots, where several tables stand
 * for one place on the guest's disk, there are no bits.
 *
 * Keeping such slices in the cache was rejected: a disk of 1 TiB has 128 MiB.
 */
#include "formats/qcow2/tables/empty.h"

#include <stdlib.h>

#include "formats/qcow2/image/image.h"
#include "io/base.h"

/* As many as a disk of 64 TiB has with clusters of 4 KiB. */
#define MAX_EMPTY_BITS (UINT64_C(1) << 25)

bool qcow2_is_known_empty(const struct qcow2 *q, uint64_t guest_off)
{
	uint64_t idx;

	if (!q->empty.bits)
		return false;
	idx = guest_off / qcow2_l2_slice_span(q);
	return idx < q->empty.n_bits && q->empty.bits[idx / 64] >> idx % 64 & 1;
}

uint64_t qcow2_known_empty_len(const struct qcow2 *q, uint64_t guest_off, uint64_t max_len)
{
	uint64_t span = qcow2_l2_slice_span(q), len = 0, part = span - guest_off % span;

	while (len < max_len && qcow2_is_known_empty(q, guest_off + len)) {
		len += part;
		part = span;
	}
	return MIN(len, max_len);
}

void qcow2_note_empty(struct qcow2 *q, uint64_t guest_off, uint64_t len)
{
	uint64_t span = qcow2_l2_slice_span(q), n = div_round_up(q->layer.guest_len, span);

	if (q->snapshots || n > MAX_EMPTY_BITS)
		return;
	if (!q->empty.bits)
		q->empty.bits = calloc(div_round_up(n, 64), sizeof(*q->empty.bits));
	if (!q->empty.bits) /* it is looked at again */
		return;
	q->empty.n_bits = n;
	for (uint64_t idx = guest_off / span; idx < MIN(n, (guest_off + len) / span); idx++)
		q->empty.bits[idx / 64] |= UINT64_C(1) << idx % 64;
}

void qcow2_forget_empty(struct qcow2 *q, uint64_t guest_off)
{
	uint64_t idx;

	if (!q->empty.bits)
		return;
	idx = guest_off / qcow2_l2_slice_span(q);
	if (idx < q->empty.n_bits)
		q->empty.bits[idx / 64] &= ~(UINT64_C(1) << idx % 64);
}

void qcow2_forget_all_empty(struct qcow2 *q)
{
	free(q->empty.bits);
	q->empty.bits = NULL;
	q->empty.n_bits = 0;
}
