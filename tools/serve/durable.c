/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A set bit stays true: a cluster that has been written to is plain, its own
 * and in place from then on, until it is discarded or zeroed. Asking the library
 * for the mapping of each write was rejected: published entries, which may not be
 * on the disk yet, are told like others.
 */
#include "tools/serve/durable.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64

void durable_open(struct durable *d, uint64_t disk_len, uint64_t granule)
{
	*d = (struct durable){ .granule = granule };
	if (!granule)
		return;
	d->n = disk_len / granule + (disk_len % granule != 0);
	d->bits = calloc(d->n / WORD_BITS + 1, sizeof(*d->bits));
}

void durable_close(struct durable *d)
{
	free(d->bits);
	d->bits = NULL;
}

void durable_lengthen(struct durable *d, uint64_t disk_len)
{
	struct durable longer;

	durable_open(&longer, disk_len, d->granule);
	longer.n_clearing = d->n_clearing;
	longer.epoch = d->epoch + 1; /* a write that is under way is not noted */
	if (longer.bits && d->bits)
		memcpy(longer.bits, d->bits, (d->n / WORD_BITS + 1) * sizeof(*d->bits));
	durable_close(d);
	*d = longer;
}

void durable_renew(struct durable *d, uint64_t disk_len, uint64_t granule)
{
	unsigned n_clearing = d->n_clearing;
	uint64_t epoch = d->epoch + 1;

	durable_close(d);
	durable_open(d, disk_len, granule);
	d->n_clearing = n_clearing;
	d->epoch = epoch;
}

void durable_forget(struct durable *d)
{
	durable_close(d);
	d->epoch++;
}

bool durable_has(const struct durable *d, uint64_t off, uint64_t len)
{
	uint64_t i, last;

	if (!d->granule || !len)
		return true;
	if (!d->bits)
		return false;
	last = (off + len - 1) / d->granule;
	for (i = off / d->granule; i <= last && i < d->n; i++)
		if (!(d->bits[i / WORD_BITS] & UINT64_C(1) << i % WORD_BITS))
			return false;
	return true;
}

uint64_t durable_epoch(const struct durable *d)
{
	return d->epoch;
}

void durable_add(struct durable *d, uint64_t epoch, uint64_t off, uint64_t len)
{
	uint64_t i, last;

	if (!d->bits || !len || d->n_clearing || epoch != d->epoch)
		return;
	last = (off + len - 1) / d->granule;
	for (i = off / d->granule; i <= last && i < d->n; i++)
		d->bits[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
}

void durable_clear_begin(struct durable *d)
{
	d->n_clearing++;
	d->epoch++;
}

void durable_clear(struct durable *d, uint64_t off, uint64_t len)
{
	uint64_t i, last;

	if (!d->bits || !len)
		return;
	last = (off + len - 1) / d->granule;
	for (i = off / d->granule; i <= last && i < d->n; i++)
		d->bits[i / WORD_BITS] &= ~(UINT64_C(1) << i % WORD_BITS);
}

void durable_clear_end(struct durable *d)
{
	d->n_clearing--;
	d->epoch++;
}
