/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Copies that go into space which held something before. A snapshot's L2 table
 * may have a cluster of which only some subclusters are in use: what is missing
 * is written into that cluster, over whatever was there, while the guest's copy
 * of the same subcluster goes to the end of the file, where all reads zeros.
 * Drawn chains have no such tables, so the image is written here.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "formats/qcow2/image/disk.h"
#include "io/base.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/images/builder.h"

TestSuite(old_space, .timeout = 120);

/* Of 256 KiB: a subcluster has 8 KiB, and is copied in two pieces. */
#define CLUSTER_BITS 18u
#define CLUSTER      (UINT64_C(1) << CLUSTER_BITS)
#define SUBCLUSTER   (CLUSTER / 32)
#define PIECE        4096u
#define COPIED       (UINT64_C(1) << 63)
#define OFF_MASK     UINT64_C(0x00fffffffffffe00)

/* Host clusters of the image. */
enum {
	AT_HEADER,
	AT_L1,
	AT_L2,
	AT_SNAPSHOT_L1,
	AT_SNAPSHOT_L2,
	AT_DATA,
	AT_SNAPSHOTS,
	AT_REFTABLE,
	AT_REFBLOCK,
	N_CLUSTERS
};

static uint8_t *host(struct sim_chain_file *top, unsigned host_idx)
{
	return top->bytes + host_idx * CLUSTER;
}

static void put_header(struct sim_chain_file *top)
{
	static const char base[] = "/base";
	uint8_t *h = host(top, AT_HEADER);

	build_put_be(h + QCOW2_H_MAGIC, 4, 0x514649fb);
	build_put_be(h + QCOW2_H_VERSION, 4, 3);
	build_put_be(h + QCOW2_H_BACKING_OFF, 8, 256);
	build_put_be(h + QCOW2_H_BACKING_LEN, 4, strlen(base));
	memcpy(h + 256, base, strlen(base));
	build_put_be(h + QCOW2_H_CLUSTER_BITS, 4, CLUSTER_BITS);
	build_put_be(h + QCOW2_H_SIZE, 8, CLUSTER);
	build_put_be(h + QCOW2_H_L1_SIZE, 4, 1);
	build_put_be(h + QCOW2_H_L1_OFF, 8, AT_L1 * CLUSTER);
	build_put_be(h + QCOW2_H_REFTABLE_OFF, 8, AT_REFTABLE * CLUSTER);
	build_put_be(h + QCOW2_H_REFTABLE_CLUSTERS, 4, 1);
	build_put_be(h + QCOW2_H_N_SNAPSHOTS, 4, 1);
	build_put_be(h + QCOW2_H_SNAPSHOTS_OFF, 8, AT_SNAPSHOTS * CLUSTER);
	build_put_be(h + QCOW2_H_INCOMPAT, 8, QCOW2_INCOMPAT_EXTENDED_L2);
	build_put_be(h + QCOW2_H_REFCOUNT_ORDER, 4, 4);
	build_put_be(h + QCOW2_H_LEN, 4, 112);
	build_put_be(h + 112, 4, QCOW2_EXT_BACKING_FORMAT);
	build_put_be(h + 116, 4, 3);
	memcpy(h + 120, "raw", 3);
}

static void put_snapshot(struct sim_chain_file *top)
{
	uint8_t *e = host(top, AT_SNAPSHOTS);

	build_put_be(e, 8, AT_SNAPSHOT_L1 * CLUSTER);
	build_put_be(e + 8, 4, 1);
	build_put_be(e + 12, 2, 1);
	build_put_be(e + 14, 2, 1);
	build_put_be(e + 36, 4, 16);
	build_put_be(e + 48, 8, CLUSTER);
	e[56] = '1';
	e[57] = 's';
}

static void take_file(struct sim_chain_file *file, const char *name, uint64_t len)
{
	*file = (struct sim_chain_file){ .len = len, .file_len = len };
	strcpy(file->name, name);
	file->bytes = calloc(1, len);
	cr_assert(file->bytes);
}

/* Table l2 has the first subcluster of the data cluster, of which the rest is full of junk. */
static void put_top(struct sim_chain_file *top, unsigned l2)
{
	take_file(top, "/top", N_CLUSTERS * CLUSTER);
	put_header(top);
	put_snapshot(top);
	build_put_be(host(top, AT_L1), 8, AT_L2 * CLUSTER | COPIED);
	build_put_be(host(top, AT_SNAPSHOT_L1), 8, AT_SNAPSHOT_L2 * CLUSTER | COPIED);
	build_put_be(host(top, l2), 8, AT_DATA * CLUSTER | COPIED);
	build_put_be(host(top, l2) + 8, 8, 1);
	memset(host(top, AT_DATA), 0x77, SUBCLUSTER);
	memset(host(top, AT_DATA) + SUBCLUSTER, 0xee, CLUSTER - SUBCLUSTER);
	build_put_be(host(top, AT_REFTABLE), 8, AT_REFBLOCK * CLUSTER);
	for (unsigned i = 0; i < N_CLUSTERS; i++)
		build_put_be(host(top, AT_REFBLOCK) + 2 * i, 2, 1);
}

static uint64_t peek64(const struct sim *sim, uint64_t host_off)
{
	uint8_t bytes[8];

	sim_file_peek(sim, "/top", bytes, sizeof(bytes), host_off);
	return be64(bytes);
}

/* The second subcluster reads in each disk as the base did. */
static void judge(const struct sim *sim, const uint8_t *base, unsigned l1)
{
	uint64_t l2_off = peek64(sim, l1 * CLUSTER) & OFF_MASK;
	uint64_t host_off = peek64(sim, l2_off) & OFF_MASK;
	uint8_t got[SUBCLUSTER];

	cr_assert(peek64(sim, l2_off + 8) & 2, "the subcluster was not copied");
	sim_file_peek(sim, "/top", got, sizeof(got), host_off + SUBCLUSTER);
	for (unsigned i = 0; i < SUBCLUSTER; i++)
		cr_assert_eq(got[i], base[SUBCLUSTER + i], "L1 %u: byte %u is %#x", l1, i, got[i]);
}

/* l2: the table that has the cluster; piece: of the second subcluster, the one with data. */
static void pull_into(unsigned l2, unsigned piece)
{
	struct sim_chain chain = { .how = { .format = IMAGE_QCOW2, .piece_len = PIECE },
				   .n_files = 2 };
	struct sim_pull pull = { 0 };
	struct sim *sim = sim_new(1);
	struct sim_chain_file *base = &chain.files[1];

	put_top(&chain.files[0], l2);
	take_file(base, "/base", CLUSTER);
	memset(base->bytes + SUBCLUSTER + piece * PIECE, 0x11, PIECE);
	sim_chain_put(&chain, sim);
	cr_assert_eq(sim_pull_whole(&chain, sim, 8 * MiB, 0, &pull), 0, "%s%s", pull.error.message,
		     pull.message);
	judge(sim, base->bytes, AT_L1);
	judge(sim, base->bytes, AT_SNAPSHOT_L1);
	sim_free(sim);
	free(chain.files[0].bytes);
	free(base->bytes);
}

Test(old_space, pieces_of_zeros_are_written_over_what_was_there)
{
	for (unsigned piece = 0; piece < 2; piece++) {
		pull_into(AT_SNAPSHOT_L2, piece);
		pull_into(AT_L2, piece);
	}
}
