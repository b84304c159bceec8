/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The check's own state and constants. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_STATE_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "io/base.h"

struct file;
struct qcow2;

#define CHECK_PIECE_LEN       65536u
#define CHECK_WINDOW_CLUSTERS (UINT64_C(4) << 20) /* 16 MiB of counters */

/* A counter: how often a host cluster is referenced, and as what. */
#define CHECK_COUNT_MAX 0x07ffffffu
#define CHECK_EXCLUSIVE (1u << 31) /* metadata that has one owner */
#define CHECK_L2        (1u << 30)
#define CHECK_DATA      (1u << 29)
#define CHECK_WALKED    (1u << 28) /* in a source window: this L2 table has been walked */
#define CHECK_PLAIN     (1u << 28) /* in a target window, with CHECK_DATA: one guest cluster */
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
	/* How a repair walks (repair.c); a check has none of these. */
	bool refs_only; /* refcounts are worthless: their structures and COPIED are not looked at */
	bool mend_copied;   /* COPIED flags are made what the refcounts say */
	bool piece_changed; /* flags in the piece of a table being walked */
	bool written;       /* something was written */
	int write_error;    /* -errno of the first write that failed */
	/* Called with a target window's references counted, and for all clusters behind the last
	 * window that has any; NULL: nothing is done about those. 0 or -errno. */
	int (*window_counted)(struct qcow2_check *c);
	int (*beyond)(struct qcow2_check *c, uint64_t first);
	void *opaque; /* theirs */
	uint64_t n_reports;
	struct {
		struct check_l1 *list;
		uint32_t n;
		uint64_t table_len; /* bytes */
	} snapshots;
	uint8_t l1_piece[CHECK_PIECE_LEN], l2_piece[CHECK_PIECE_LEN], ref_piece[CHECK_PIECE_LEN];
};

static inline bool check_window_has(const struct check_window *window, uint64_t idx)
{
	return idx - window->first < window->n;
}

/* A hostile image has millions of findings: none is put into words that no caller wants. */
static inline bool check_wants_text(const struct qcow2_check *c)
{
	return c->result->report && c->n_reports < c->result->max_reports;
}

/* Refcounts of n clusters from `first` on, entry `idx` of `bytes` being the first one; bytes NULL:
 * they are all 0. The bytes are a piece of a block, from host byte piece_off on. */
struct ref_range {
	uint64_t first, n;
	uint8_t *bytes;
	uint64_t idx;
	uint64_t piece_off;
	uint32_t piece_len;
};

typedef void (*check_ref_fn)(struct qcow2_check *c, const struct ref_range *range);

/* The stored refcount of this cluster of the target window is exactly one. */
static inline bool check_refcount_is_one(const struct qcow2_check *c, uint64_t idx)
{
	uint64_t at = idx - c->target.first;

	return c->refcount_is_one[at / 8] >> (at % 8) & 1;
}

#endif
