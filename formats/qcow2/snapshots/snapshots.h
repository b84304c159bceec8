/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The disks that one qcow2 file holds: the guest's and that of each internal
 * snapshot. Each has an L1 table; tables below may be shared. Shared by
 * snapshots.c (which disks), map.c (which tables, what they lack),
 * copies.c (which copies they need) and fill.c (giving them those).
 */
#ifndef BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_SNAPSHOTS_H
#define BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct err;
struct layer;
struct qcow2;
struct staged;

/* Blocking: the snapshots' L1 tables, where there are snapshots or subclusters; sets backed_len and
 * l2_slice_len. -ENOTSUP, -EUCLEAN with a sentence (`name` is the image's, escaped), nothing
 * changed. */
int qcow2_snapshots_load(struct qcow2 *q, const char *name, struct err *err);
void qcow2_snapshots_free(struct qcow2 *q);
/* layer_shared_ops.reread_begin */
int qcow2_snapshots_reread_begin(struct layer *layer, bool commit_runs, void **state);
/* layer_shared_ops.reread */
int qcow2_snapshots_reread(struct layer *layer, void *state, struct err *err);
/* layer_shared_ops.reread_end */
void qcow2_snapshots_reread_end(struct layer *layer, void *state, bool take);
/* Adds the changed entries of the snapshots' L1 tables to a commit. 0 or -ENOMEM. */
int qcow2_snapshots_stage(struct qcow2 *q, struct staged *staged);

/* The guest's disk has left a table that others read: what is known of the tables at one place is
 * out of date. */
void qcow2_snapshots_note_departed(struct qcow2 *q);

/* A snapshot's disk. Its L1 table is resident, bytes as on disk. */
struct qcow2_view {
	uint64_t l1_off;    /* host bytes */
	uint32_t n_l1;      /* entries; those behind the disk are VM state */
	uint64_t guest_len; /* bytes of its disk */
	uint8_t *l1;
	uint32_t dirty_lo, dirty_hi; /* entries changed since staged; lo == hi: none */
	bool is_staged;              /* the last stage() took some */
	uint64_t n_changes;
};

/* A distinct L2 table at one L1 index; l2_off 0: those disks have none. */
struct qcow2_view_table {
	uint64_t l2_off;
	uint32_t weight;    /* L1 entries that refer to it: what each of its references counts */
	uint64_t guest_len; /* the longest disk that reads through it; 0: VM state of all of them */
	bool is_guests;     /* the guest's disk reads through it */
	/* copies.c: of the cluster looked at */
	int copy; /* which copy it takes; -1: it lacks nothing there */
};

struct qcow2_snapshots {
	struct qcow2_view *snapshots;
	uint32_t n_snapshots;
	/* The tables at one L1 index, by offset; room for n_snapshots + 1. */
	struct qcow2_view_table *tables;
	uint32_t n_tables;
	uint64_t tables_l1_idx; /* UINT64_MAX: none */
	/* copies.c: existing space for each copy of the cluster looked at; 0: none */
	uint64_t *copy_host_off;
	uint64_t *copy_weight;
	uint32_t n_copies;
	/* The copy that goes to a table which the guest's disk has left since the last commit
	 * began; -1: none. On disk it reads through that table still, so the copy counts it, too,
	 * for now. */
	int departed_target;
	bool has_departed; /* there are such tables */
	bool has_no_len;   /* some snapshot records no length of its disk */
};

/* The longest disk that reads through this table reaches guest_off. */
static inline bool qcow2_view_sees(const struct qcow2_view_table *table, uint64_t guest_off)
{
	return guest_off < table->guest_len;
}

#endif
