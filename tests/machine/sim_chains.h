/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Chains by name, for tables of struct sim_chain_how: parts of an initializer, to
 * which a test adds how large its chains are and what is special about them. The
 * names are those of chains that several tests share.
 */
#ifndef BLOCKPULL_TESTS_SIM_CHAINS_H
#define BLOCKPULL_TESTS_SIM_CHAINS_H

#include "tests/machine/sim_chain.h"

/* The overlay's format, and its clusters of 1 << bits bytes. */
#define SIM_QED(bits) .format = IMAGE_QED, .cluster_bits = (bits)
#define SIM_V2(bits)  .format = IMAGE_QCOW2, .version = 2, .cluster_bits = (bits)
/* refs: bits of a refcount; 0: drawn. */
#define SIM_V3(bits, refs) \
	.format = IMAGE_QCOW2, .version = 3, .cluster_bits = (bits), .refcount_bits = (refs)

/* Clusters of the guest's disk, and backing files at most (0: as the test's default). */
#define SIM_SIZE(clusters, depth) .n_clusters = (clusters), .max_depth = (depth)
/* The same, with clusters of a kind side by side two at most: many extents on a small disk. */
#define SIM_SIZE_MIXED(clusters, depth) SIM_SIZE(clusters, depth), .stretch = 2

#define SIM_SMALL_CLUSTERS SIM_V3(9, 0)
#define SIM_LARGE_CLUSTERS SIM_V3(16, 0)
#define SIM_SMALL_QED      SIM_QED(12)
/* A pull has to add a refcount block; to move the refcount table. */
#define SIM_FULL_BLOCK SIM_V2(10), .full_block = true
#define SIM_FULL_TABLE SIM_V3(9, 64), .full_table = true
/* Pulled down to a file of the chain. */
#define SIM_TO_BASE      SIM_V3(10, 0), .to_base = true
#define SIM_V2_TO_BASE   SIM_V2(9), .to_base = true
#define SIM_SNAPSHOTS(n) SIM_V3(10, 16), .n_snapshots = (n)
/* Pulled compressed: with narrow counts few clusters share one host cluster. */
#define SIM_PACKED_NARROW(refs) SIM_V3(12, refs), .compression = BPULL_COMPRESSION_ZSTD

#endif
