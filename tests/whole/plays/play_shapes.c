/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Images at the borders of their formats, for plays: large clusters that pass in
 * pieces at a low rate, refcounts at their maximum that copies and compressed
 * clusters share, host offsets above 4 GiB, snapshots longer than the disk.
 */
#include "tests/whole/plays/play.h"

/* Copied with a burst that is shorter than a cluster. */
static void large_clusters(struct sim_chain_how *how, uint64_t i)
{
	how->format = i % 3 ? IMAGE_QCOW2 : IMAGE_QED;
	how->cluster_bits = 14 + i % 4;
	how->n_clusters = 3 + i % 9;
	how->piece_len = 4096u << i % 2;
	if (how->format == IMAGE_QCOW2 && i % 5 == 1) {
		how->version = 3;
		how->refcount_bits = 16;
		how->n_snapshots = 2;
	}
}

/* A count of 2 bits ends at 3: the disk and two snapshots; one of 1 bit with the first
 * reference. */
static void full_counts(struct sim_chain_how *how, uint64_t i)
{
	how->format = IMAGE_QCOW2;
	how->version = 3;
	how->refcount_bits = 1u << i % 3;
	how->n_snapshots = how->refcount_bits == 1 ? 0 : how->refcount_bits == 2 ? 2 : 9;
	how->cluster_bits = 10 + i / 3 % 3;
	how->compression = i / 9 % 4 ? BPULL_COMPRESSION_OWN : BPULL_COMPRESSION_ZSTD;
}

static void far(struct sim_chain_how *how, uint64_t i)
{
	how->far = true;
	how->format = i % 3 ? IMAGE_QCOW2 : IMAGE_QED;
	how->cluster_bits = 12 + i % 3;
	if (how->format == IMAGE_QCOW2 && i % 4 == 1)
		how->compression = BPULL_COMPRESSION_OWN;
	if (how->format == IMAGE_QCOW2 && i % 4 == 2) {
		how->version = 3;
		how->refcount_bits = 8;
		how->n_snapshots = 1;
	}
}

static void longer_snapshots(struct sim_chain_how *how, uint64_t i)
{
	how->longer = true;
	how->format = IMAGE_QCOW2;
	how->version = 3;
	how->cluster_bits = 9 + i % 4;
	how->refcount_bits = 4u << i / 4 % 3;
	how->n_snapshots = 1 + i % 3;
	if (i % 5 == 2)
		how->compression = BPULL_COMPRESSION_OWN;
}

void play_draw_shape(struct sim_chain *chain, uint64_t seed)
{
	static void (*const shapes[])(struct sim_chain_how * how,
				      uint64_t i) = { large_clusters, full_counts, far,
						      longer_snapshots };
	uint64_t i = seed / 8;
	struct sim_chain_how how = { .seed = i + 1, .n_clusters = 12 + i % 40 };

	shapes[i % ARRAY_LEN(shapes)](&how, i / ARRAY_LEN(shapes));
	sim_chain_draw(chain, &how);
}
