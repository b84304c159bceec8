/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Small backing chains drawn from a seed, and what a guest reads of them. Built
 * once, put into as many simulated machines as wanted: loops over the n-th
 * failing call need the same chain again and again.
 *
 * qcow2 images come from build_image.c and raw ones from here, so that nothing
 * of formats/ has a hand in them; QED images come from formats/, which is
 * tested against QEMU elsewhere.
 */
#ifndef BLOCKPULL_TESTS_SIM_CHAIN_H
#define BLOCKPULL_TESTS_SIM_CHAIN_H

#include "formats/core/layer.h"
#include "io/base.h"
#include "tests/machine/files/sim.h"

#define SIM_CHAIN_TOP       "/top"
#define SIM_CHAIN_MAX_DEPTH 4 /* backing files */

/* Zero is the default everywhere: drawn. */
struct sim_chain_how {
	uint64_t seed;
	enum image_format format; /* of the overlay */
	unsigned version;         /* of a qcow2 overlay */
	unsigned cluster_bits, refcount_bits;
	unsigned n_clusters; /* of the guest's disk, the overlay's clusters; 0: up to 200 */
	unsigned max_depth;  /* backing files at most */
	unsigned stretch;    /* clusters of a kind side by side, at most; 0: 6 */
	/* qcow2: when a few clusters are added a refcount block, the refcount table are full. */
	bool full_block, full_table;
	unsigned block_left; /* until then, clusters; 0: drawn */
	/* qcow2 backing files have refcounts and clusters of this size, and are as full. */
	bool full_below;
	uint64_t autoclear;   /* bits of the overlay, qcow2 version 3 */
	unsigned compression; /* enum bpull_compression: how it is pulled */
	/* Larger clusters are pulled in pieces of so many bytes; 0: as they are. */
	uint32_t piece_len;
	enum {
		SIM_CLONE_NEVER,
		SIM_CLONE_WORKS,
		SIM_CLONE_REFUSED, /* when it is tried */
		SIM_CLONE_SOME,    /* refused by some of the files, by seed */
	} clone;
	unsigned n_snapshots; /* of a qcow2 overlay, all of the disk as it is */
	bool to_base;   /* pulled down to a file of the chain, where there are three or more */
	bool extended;  /* the overlay, qcow2 version 3, has extended L2 entries, and none yet */
	bool data_file; /* the overlay, qcow2 version 3, has an external one, full of junk */
	/* The backing file's name lies behind the overlay's first sector: qcow2 version 3, clusters
	 * of 2 KiB and up. Else drawn. */
	bool long_header;
	/* Below QED, which records raw or nothing, any format may lie: opened with BPULL_TRUST_ALL,
	 * as `unnamed` is none then. Else it is one format in the whole chain. */
	bool any_below_qed;
	bool mixed; /* the overlay is marked: qcow2, clusters of 1 KiB and up */
	/* The overlay's free space begins above 4 GiB. QED has no free space but behind its tables,
	 * so these are as large as they can be, with clusters of 64 MiB; n_clusters counts 4 KiB
	 * then. */
	bool far;
	bool longer; /* the snapshots are longer than the disk: qcow2 version 3 */
	bool first;  /* ranges are drawn that are to be copied first: sim_first.h */
};

struct sim_chain_file {
	char name[8];
	uint8_t *bytes;
	uint64_t len, file_len; /* behind len the file is a hole */
};

struct sim_chain {
	struct sim_chain_how how; /* as drawn */
	uint64_t guest_len;
	uint64_t snapshot_len;     /* of each snapshot's disk */
	uint32_t cluster_len;      /* the overlay's */
	uint8_t *want;             /* guest_len bytes, and those of longer snapshots */
	enum image_format unnamed; /* of backing files below QED, which records raw or nothing */
	unsigned n_files;
	struct sim_chain_file files[SIM_CHAIN_MAX_DEPTH + 1]; /* the overlay first */
	struct sim_chain_file data;                           /* the overlay's, or no name */
	char text[400];                                       /* what it is, for messages */
};

void sim_chain_draw(struct sim_chain *chain, const struct sim_chain_how *how);
/* The file that is to be the overlay's backing file after the pull; NULL: none. */
const char *sim_chain_base(const struct sim_chain *chain);
void sim_chain_free(struct sim_chain *chain);
/* All of its files, durable. */
void sim_chain_put(const struct sim_chain *chain, struct sim *sim);
/* The backing files are as they were put. */
bool sim_chain_backing_is_same(const struct sim_chain *chain, const struct sim *sim);
/* Those from this one on. */
bool sim_chain_rest_is_same(const struct sim_chain *chain, const struct sim *sim, unsigned first);
/* What the overlay's header names in the file as readers see it now, found without formats/: the
 * index of a file of the chain, n_files for none, SIM_CHAIN_NO_FILE for what is neither. */
#define SIM_CHAIN_NO_FILE UINT32_MAX
unsigned sim_chain_link(const struct sim_chain *chain, const struct sim *sim);
/* The same of a copy of the overlay under another name. */
unsigned sim_chain_link_of(const struct sim_chain *chain, const struct sim *sim,
			   const char *overlay);
/* The disk's length that its header has. */
uint64_t sim_chain_disk_len(const struct sim_chain *chain, const struct sim *sim);
/* Puts one. */
void sim_chain_put_twin(const struct sim_chain *chain, struct sim *sim, const char *name);
/* The overlay says that its bitmaps hold of its content. As readers see it now. */
bool sim_chain_has_bitmaps(const struct sim_chain *chain, const struct sim *sim);
/* A write that may change the link is on its way. */
bool sim_chain_link_is_written(const struct sim_chain *chain, const struct sim *sim);

#endif
