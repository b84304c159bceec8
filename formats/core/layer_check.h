/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is told of an image's metadata, and what is found wrong with it and
 * repaired.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_CHECK_H
#define BLOCKPULL_FORMATS_CORE_LAYER_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct err;

/* What `info` tells of an image beside its geometry. Strings are static, but for data_file. */
struct layer_info {
	unsigned version, refcount_bits; /* qcow2; else 0 */
	uint32_t table_clusters;         /* qed; else 0 */
	uint32_t n_snapshots;
	const char *compression; /* "zlib", "zstd" or NULL */
	const char *encryption;  /* "aes", "luks" or NULL */
	const char *data_file;   /* its name as recorded, never trusted, or NULL; the layer's */
	bool dirty, corrupt, lazy_refcounts, extended_l2, has_data_file, has_bitmaps;
	bool data_file_raw; /* marked: the data file alone is the guest's disk */
};

/* What check() found, worst kinds first; the last three fields are the caller's. */
struct check_result {
	uint64_t n_errors;   /* broken entries, refcounts too low, overlaps: corruption */
	uint64_t n_stale;    /* of these, qcow2's COPIED flags clear without need: harmless, and
				  * what a cut in the middle of a repair leaves */
	uint64_t n_crossed;  /* of these, clusters of data that more entries share than there
				  * are disks to share them: found whatever refcounts say */
	uint64_t n_overlaps; /* of these, clusters of one owner that another uses, too: one of them
				  * has overwritten the other, or will */
	uint64_t n_cut;   /* of these, 1 where the file ends inside a table and clusters leak: they
			   * may be what lost entries led to, and must not be given away */
	uint64_t n_leaks; /* clusters counted but not referenced */
	uint64_t n_check_errors; /* what could not be checked (I/O errors) */
	char incomplete[160];    /* the first of those, in words; or "" */
	uint64_t n_allocated_clusters, n_compressed_clusters, n_zero_clusters, n_total_clusters;
	uint64_t n_snapshot_compressed_clusters; /* in tables of internal snapshots alone */
	uint64_t overlap_off; /* host byte of the first of n_overlaps that was found */
	/* First byte behind the last cluster that is counted or referred to. */
	uint64_t image_end_off;
	uint64_t refs_end_off; /* qcow2: behind the last one referred to */
	/* Called for each finding, at most max_reports times; NULL for none. Text without
	 * newline. */
	void (*report)(void *opaque, bool is_leak, const char *text);
	void *opaque;
	uint64_t max_reports;
};

/* What is to be repaired, and what came of it. */
struct repair {
	bool all; /* else leaks only */
	/* What was found before, and what is left; the caller sets their report. Where nothing
	 * could be done `left` is `found`. */
	struct check_result found, left;
	bool was_marked; /* the header said dirty, corrupt or in need of a check; it does no more */
	char why[384];   /* something was not repaired: the reason; or "" */
};

/* layer_ops.check */
struct layer_check_ops {
	/* Fills a zeroed *info. */
	void (*describe)(const struct layer *layer, struct layer_info *info);
	/* Read-only and blocking: the image's metadata on disk, in bounded memory. 0 when it ran
	 * to the end whatever it found; -errno when it could not run. */
	int (*check)(struct layer *layer, struct check_result *result, struct err *err);
	/* Blocking, on a writable file of which nothing is cached dirty: repairs what check()
	 * finds, so that a cut at any moment leaves the guest's disk as it was. Never changes what
	 * refers to what. 0, whatever could be done; -errno: a read, write or
	 * barrier failed. */
	int (*repair)(struct layer *layer, struct repair *repair, struct err *err);
	/* Where the first table lies, host bytes: with all its bytes 0 the image holds nothing of
	 * the guest's disk. */
	void (*root)(const struct layer *layer, uint64_t *host_off, uint64_t *len);
};

static inline bool layer_can_check(const struct layer *layer)
{
	return layer->ops->check != NULL;
}

/* Fills *info; all zero where the image has nothing to tell. */
void layer_describe(const struct layer *layer, struct layer_info *info);
/* As struct layer_check_ops says. */
int layer_check(struct layer *layer, struct check_result *result, struct err *err);
int layer_repair(struct layer *layer, struct repair *repair, struct err *err);
void layer_root(const struct layer *layer, uint64_t *host_off, uint64_t *len);

#endif
