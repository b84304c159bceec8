/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The private state of one open QED image, shared by the files qed*.c: qed.c
 * (open, validate, begin writing, detach), qed_map.c (lookup and publish),
 * qed_alloc.c (host space), qed_check.c, qed_compact.c and qed_repair.c (leaks
 * taken out), qed_create.c.
 */
#ifndef BLOCKPULL_QED_H
#define BLOCKPULL_QED_H

#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qed.h"
#include "io/err.h"
#include "formats/qed_disk.h"

struct qed_new_link; /* qed_link.c */

struct qed {
	struct layer layer; /* first: a struct layer * is a struct qed * */

	/* The header, checked; and its bytes as they are to be on disk. */
	uint8_t header[QED_HEADER_LEN];
	uint32_t table_clusters;
	uint64_t header_len; /* host bytes in front of the first regular cluster */
	uint64_t l1_off;     /* host bytes */
	uint64_t features, compat, autoclear;
	bool need_check;

	/* Geometry. */
	unsigned cluster_bits;
	unsigned table_bits; /* log2 of the entries in one table */
	uint64_t table_len;  /* bytes of one table: up to 1 GiB, so never loaded whole */
	uint32_t slice_len;  /* bytes of what is cached of a table at a time; divides table_len */
	unsigned l2_bits;    /* log2 of the guest bytes that one L2 table maps */

	/* qed_map.c: an L2 table reserved and begun, which no L1 entry names yet; 0: none. */
	uint64_t spare_l2_off;

	/* qed_alloc.c */
	struct gaps gaps;
	bool may_leak; /* space was given back that is not at the end, or could not be reclaimed */

	struct qed_new_link *new_link; /* qed_link.c: the link to be, or NULL */
};

static inline struct qed *qed_of(const struct layer *layer)
{
	return (struct qed *)layer;
}

/* qed.c: changes features and autoclear bits on disk, durably, and then here. 0 or -errno. */
int qed_rewrite_header(struct qed *q, uint64_t features, uint64_t autoclear, struct err *err);

/* qed_map.c */
int qed_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
	    struct table_need *need);
int qed_link(struct layer *layer, uint64_t guest_off, uint64_t len, struct table_need *need);
int qed_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		struct table_need *need);
/* As qed_publish(), also where the entries are not greater than `over`: QED_ENTRY_UNALLOCATED, or
 * QED_ENTRY_ZERO. */
int qed_publish_over(struct layer *layer, const struct mapping *maps, size_t n_maps, uint64_t over,
		     struct table_need *need);
int qed_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		    uint64_t *end_off, struct table_need *need);
int qed_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		  struct table_need *need);

/* qed_write.c */
int qed_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		  struct table_need *need);
int qed_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
		      struct table_need *need);

/* qed_alloc.c */
/* Pure, but for a device, where the tables say how far it is used. */
int qed_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		struct err *err);
int qed_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
void qed_release(struct layer *layer, uint64_t host_off, uint64_t len);
/* Space for one L2 table. On a regular file it is known to read zeros. 0, -ENOSPC, -EFBIG. */
int qed_reserve_table(struct qed *q, uint64_t *host_off);

/* qed_link.c */
int qed_plan_link(struct layer *layer, const char *name, enum image_format format, struct err *err);
int qed_stage_link(struct layer *layer, struct staged *staged);
void qed_link_durable(struct layer *layer);

/* qed.c: checks the image, and refuses what no job is to touch, with a sentence. Blocks. */
int qed_audit(struct qed *q, struct check_result *found, struct err *err);

/* qed_check.c */
int qed_check(struct layer *layer, struct check_result *result, struct err *err);

/* qed_compact.c */
struct qed_compacted {
	uint64_t end_off; /* first byte behind the last cluster in use */
	uint64_t n_left;  /* clusters still unreferenced in front of it */
	bool no_space;    /* since the file system had no room for a copy */
};
/* Moves what lies last into unreferenced clusters and cuts the file's end off. The image was just
 * checked (all that is in use lies before end_off; UINT64_MAX: before the file's end), nothing of it
 * is dirty or in flight; cached tables are dropped. Blocking. 0 or -errno:
 * then the image is as good as before, but the handle may not know which of the writes are there;
 * -EFBIG: too large to be compacted, nothing was changed. */
int qed_compact(struct qed *q, uint64_t end_off, struct qed_compacted *out);

/* qed_repair.c */
int qed_reclaim(struct layer *layer, uint64_t *n_left, struct err *err);
/* The same, whether or not this handle knows of leaks; end_off as above. *n_left UINT64_MAX: the file
 * is too large to look. */
int qed_reclaim_all(struct qed *q, uint64_t end_off, uint64_t *n_left, struct err *err);
int qed_repair(struct layer *layer, struct repair *repair, struct err *err);
/* Says in layer->note what beginning to write has mended. */
void qed_note(struct layer *layer, bool was_dirty, uint64_t n_leaks, uint64_t n_left);

#endif
