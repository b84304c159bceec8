/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The clusters of a run that is written compressed. With subclusters a run may begin and end inside
 * a cluster: such a part is never compressed.
 */
#ifndef BLOCKPULL_COPY_CLUSTERS_H
#define BLOCKPULL_COPY_CLUSTERS_H

#include <stdint.h>

#include "engine/copy/walk/run_state.h"
#include "formats/core/layer.h"
#include "io/base.h"

/* Values of run_compress.lens[] that are no lengths. */
#define COMP_ZERO UINT32_MAX       /* the cluster is all zeros */
#define COMP_TRY  (UINT32_MAX - 1) /* it is to be compressed */

/* Bytes of the run that lie in its buffer, or in compress.whole. */
static inline uint32_t clusters_run_len(const struct copy_run *p)
{
	return copy_run_in_pieces(p) ? p->overlay->cluster_len : p->plan.len;
}

/* Guest offset of the run's first cluster, which may begin before the run does. */
static inline uint64_t clusters_first(const struct copy_run *p)
{
	return round_down(p->guest_off, p->overlay->cluster_len);
}

/* Index of the cluster that holds byte `off` of the run. */
static inline uint32_t clusters_idx(const struct copy_run *p, uint32_t off)
{
	return (p->guest_off + off - clusters_first(p)) / p->overlay->cluster_len;
}

static inline uint8_t *clusters_bytes(const struct copy_run *p)
{
	return p->compress.whole ? p->compress.whole : p->buf;
}

#endif
