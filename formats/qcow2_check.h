/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The parts of the qcow2 check: qcow2_check.c runs the passes,
 * qcow2_check_refs.c counts references and compares them with the refcounts,
 * qcow2_check_walk.c walks L1 and L2 tables, qcow2_check_meta.c everything
 * else that occupies clusters.
 */
#ifndef BLOCKPULL_QCOW2_CHECK_H
#define BLOCKPULL_QCOW2_CHECK_H

#include "formats/qcow2_check.h"
#include "formats/qcow2.h"

#define CHECK_PIECE_LEN       65536u
#define CHECK_WINDOW_CLUSTERS (UINT64_C(4) << 20) /* 16 MiB of counters */

/* A counter: how often a host cluster is referenced, and as what. */
#define CHECK_COUNT_MAX 0x07ffffffu
#define CHECK_EXCLUSIVE (1u << 31) /* metadata that has one owner */
#define CHECK_L2        (1u << 30)
#define CHECK_DATA      (1u << 29)
#define CHECK_WALKED    (1u << 28) /* in a source window: this L2 table has been walked */
#define CHECK_PLAIN     (1u << 28) /* in a target window, with CHECK_DATA: it is one guest cluster */
#define CHECK_PACKED    (1u << 27) /* with CHECK_DATA: compressed clusters are in it */

/* Counters of host clusters [first, first + n). */
struct check_window {
	uint32_t *counts;
	uint64_t first, n;
};

struct check_l1 {
	uint64_t off; /* host bytes */
	uint32_t n_entries;
	int snapshot; /* its place in the snapshot table, or -1: the active one */
};

struct qcow2_check {
	struct qcow2 *q;
	struct file *file;
	struct check_result *result;
	uint64_t n_host;            /* clusters that anything may refer to */
	uint64_t l2_end;            /* L2 tables lie in clusters before this one */
	uint64_t refs_end;          /* so do all references found up to now */
	struct check_window target; /* whose references this pass counts */
	struct check_window source; /* whose L2 tables are being walked, with their references */
	uint8_t *refcount_is_one;   /* a bit for each cluster of the target window */
	bool first_target, first_source;
	bool reads_beyond; /* a table goes on behind the end of the file, where it reads as zeros */
	/* How a repair walks (qcow2_repair.c); a check has none of these. */
	bool refs_only; /* refcounts are worthless: their structures and COPIED are not looked at */
	bool mend_copied;   /* COPIED flags are made what the refcounts say */
	bool piece_changed; /* flags in the piece of a table being walked */
	bool written;       /* something was */
	int write_error;    /* -errno */
	/* Called with a target window's references counted, and for all clusters behind the last
	 * window that has any. 0 or -errno. */
	int (*window_counted)(struct qcow2_check *c);
	int (*beyond)(struct qcow2_check *c, uint64_t first);
	void *opaque; /* theirs */
	uint64_t n_reports;
	struct check_l1 *snapshots;
	uint32_t n_snapshots;
	uint64_t snapshot_table_len; /* bytes */
	uint8_t l1_piece[CHECK_PIECE_LEN], l2_piece[CHECK_PIECE_LEN], ref_piece[CHECK_PIECE_LEN];
};

static inline bool check_window_has(const struct check_window *window, uint64_t idx)
{
	return idx - window->first < window->n;
}

/* A hostile image has millions of findings: none is put into words that nobody reads. */
static inline bool check_wants_text(const struct qcow2_check *c)
{
	return c->result->report && c->n_reports < c->result->max_reports;
}

/* The same as the layer's check, with windows of so many clusters. */
int qcow2_check_windowed(struct layer *layer, struct check_result *result, struct err *err,
			 uint64_t window_clusters);

/* --- qcow2_check.c --- */

/* NULL: out of memory. */
struct qcow2_check *check_new(struct qcow2 *q, struct check_result *result,
			      uint64_t window_clusters);
void check_free(struct qcow2_check *c);
/* All passes. 0 or -errno; reported, but for -ENOMEM. */
int check_run(struct qcow2_check *c, uint64_t window_clusters);
/* A finding, whenever it is come across. */
void check_error(struct qcow2_check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same for COPIED flags that are clear without need. */
void check_stale(struct qcow2_check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void check_leak(struct qcow2_check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Reads a piece of a table, zeros past the end of the file. 0 or -errno, already reported. */
int check_read(struct qcow2_check *c, const char *what, void *buf, size_t len, uint64_t host_off);

/* --- qcow2_check_refs.c --- */

/* Counts `weight` references to each cluster of the range; false, counting nothing, where the
 * range ends a cluster or more behind the file. */
bool check_count(struct qcow2_check *c, uint64_t host_off, uint64_t len, uint32_t use,
		 uint32_t weight);
/* Refcounts of n clusters from `first` on, entry `idx` of `bytes` being the first one; bytes NULL:
 * they are all 0. The bytes are a piece of a block, from host byte piece_off on. */
struct ref_run {
	uint64_t first, n;
	uint8_t *bytes;
	uint64_t idx;
	uint64_t piece_off;
	uint32_t piece_len;
};

typedef void (*check_ref_fn)(struct qcow2_check *c, const struct ref_run *run);

/* Calls `each` for the stored refcounts of clusters [at, end). 0 or -errno. */
int check_each_refcount(struct qcow2_check *c, uint64_t at, uint64_t end, check_ref_fn each);
/* Judges clusters of the target window that are used as more than they may be. */
void check_overlaps(struct qcow2_check *c);
/* Fills refcount_is_one for the target window. 0 or -errno. */
int check_load_refcounts(struct qcow2_check *c);
/* The target window's counters against the refcounts. 0 or -errno. */
int check_compare_refcounts(struct qcow2_check *c);
/* Clusters from `first` on, which nothing refers to: all with a refcount are leaks. 0 or -errno. */
int check_unreferenced(struct qcow2_check *c, uint64_t first);
/* Is the stored refcount of this cluster of the target window exactly one? */
static inline bool check_refcount_is_one(const struct qcow2_check *c, uint64_t idx)
{
	uint64_t at = idx - c->target.first;

	return c->refcount_is_one[at / 8] >> (at % 8) & 1;
}

/* --- qcow2_check_walk.c --- */

/* Sets l2_end. 0 or -errno. */
int check_find_l2_end(struct qcow2_check *c);
/* Counts the L2 tables that lie in the source window and, walking each once, what they refer to.
 * 0 or -errno. */
int check_walk_source(struct qcow2_check *c);

/* --- qcow2_check_meta.c --- */

/* Reads the snapshot table into c->snapshots. 0 or -errno. */
int check_load_snapshots(struct qcow2_check *c);
/* Counts all but L2 tables and what they refer to. 0 or -errno. */
int check_count_metadata(struct qcow2_check *c);

#endif
