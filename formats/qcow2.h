/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The private state of one open qcow2 image, shared by the files qcow2*.c:
 * qcow2.c (open, validate, detach), qcow2_ext.c (header extensions),
 * qcow2_map.c (lookup, and publish for one plain table), qcow2_views.c and
 * qcow2_fill.c (publish for snapshots and subclusters), qcow2_link.c (the
 * backing link), qcow2_mark.c (the mark of a changed base), qcow2_write.c,
 * qcow2_unshare.c and qcow2_freed.c (the guest's writes), qcow2_alloc.c (space
 * and refcounts), qcow2_compressed.c (decode), qcow2_encode.c, qcow2_comp_alloc.c (where compressed clusters go),
 * qcow2_check*.c, qcow2_repair*.c and qcow2_rebuild.c, qcow2_create.c.
 */
#ifndef BLOCKPULL_QCOW2_H
#define BLOCKPULL_QCOW2_H

#include "formats/core/codecs.h"
#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2.h"
#include "formats/qcow2_views.h"
#include "io/err.h"
#include "formats/qcow2_disk.h"
#include "formats/qcow2_freed.h"

enum qcow2_compression {
	QCOW2_COMPRESSION_ZLIB = 0,
	QCOW2_COMPRESSION_ZSTD = 1,
};

struct codecs;         /* core/codecs.h */
struct qcow2_views;    /* qcow2_views.c */
struct qcow2_new_link; /* qcow2_link.c */

struct qcow2 {
	struct layer layer; /* first: a struct layer * is a struct qcow2 * */

	/* The header, checked. */
	unsigned version; /* 2 or 3 */
	unsigned cluster_bits;
	uint32_t header_len;
	uint32_t crypt_method;
	uint32_t l1_size; /* entries */
	uint64_t l1_off;  /* host bytes */
	uint64_t reftable_off;
	uint32_t reftable_clusters;
	unsigned refcount_order;
	uint32_t n_snapshots;
	uint64_t snapshots_off;
	uint64_t incompat, compat, autoclear;
	enum qcow2_compression compression;
	struct codecs *codecs; /* NULL: none are kept */

	/* Header extensions. */
	bool has_luks, has_bitmaps;
	uint64_t luks_off, luks_len;
	uint32_t n_bitmaps;
	uint64_t bitmap_dir_off, bitmap_dir_len;
	char *data_file_name; /* NULL: none recorded */

	/* Geometry. */
	unsigned l2_entry_len; /* 8, or 16 with extended L2 */
	uint64_t l2_entries;   /* in one table */
	uint64_t refs_per_block;
	uint32_t l2_slice_len; /* bytes of an L2 table cached at a time */

	/* qcow2_empty.c: a bit for each L2 slice of the guest's disk that holds nothing. NULL: none yet. */
	uint64_t *empty_slices;
	uint64_t n_empty_bits;

	/* qcow2_table_space.c: clusters for the next tables, not counted. */
	uint64_t aside_off, aside_end;

	/* qcow2_views.c, from begin_writing() on; NULL: the guest's disk alone reads through the
	 * backing file, cluster by cluster. */
	struct qcow2_views *views;

	/* qcow2_alloc.c, from begin_writing() on: the refcount table as it is to be, on-disk order. */
	uint8_t *reftable;
	uint64_t n_reftable;               /* entries */
	uint64_t reftable_lo, reftable_hi; /* entries changed since staged; lo == hi: none */
	bool reftable_moved;               /* grown: the header must be switched to it */
	uint64_t old_reftable_off;         /* freed when the switch is durable; 0: none */
	uint32_t old_reftable_clusters;
	bool old_reftable_staged;
	struct gaps unfreed; /* replaced ones, durably, whose clusters are still counted */
	struct gaps gaps;    /* reserved space that came back */
	struct qcow2_freed_lists freed;

	/* qcow2_comp_alloc.c: space taken for compressed clusters, from where it is free. */
	struct qcow2_comp_tail {
		uint64_t off, end; /* host bytes; off is at a sector */
		uint64_t n_refs;   /* given out to the host cluster that off lies inside of */
	} comp_tail;
	struct qcow2_new_link *new_link; /* the link to be, or NULL */
};

static inline struct qcow2 *qcow2_of(const struct layer *layer)
{
	return (struct qcow2 *)layer;
}

/* Are data clusters in another file, where they have no refcounts? */
static inline bool qcow2_is_external(const struct qcow2 *q)
{
	return q->incompat & QCOW2_INCOMPAT_DATA_FILE;
}

static inline uint64_t qcow2_cluster_len(const struct qcow2 *q)
{
	return UINT64_C(1) << q->cluster_bits;
}

/* Is there a table to read: does it begin in the file, and end there or in the part of the last cluster
 * that the file does not have? What is missing of that reads as zeros (file_read_padded()). */
static inline bool qcow2_holds_table(const struct qcow2 *q, uint64_t host_off, uint64_t len)
{
	uint64_t end;

	return host_off < q->layer.file->len && !add_u64(host_off, len, &end) &&
	       end <= round_up(q->layer.file->len, qcow2_cluster_len(q));
}

/* qcow2_ext.c: walks the header extensions in cluster 0. Fills what it knows, keeps its hands off
 * the rest. 0 or -errno with a sentence. */
int qcow2_read_extensions(struct qcow2 *q, const uint8_t *cluster0, size_t len, struct err *err);
/* The recorded name of an incompatible feature bit into out, or "bit N". */
void qcow2_feature_name(const uint8_t *cluster0, size_t len, uint32_t header_len, unsigned bit,
			char *out, size_t cap);

/* So much of an L2 table is cached at a time: on a sparse disk, most pages of one hold nothing. */
#define QCOW2_L2_SLICE_LEN 4096u

/* Guest bytes one L2 slice, one L2 table map. */
static inline uint64_t qcow2_l2_slice_span(const struct qcow2 *q)
{
	return (uint64_t)(q->l2_slice_len / q->l2_entry_len) << q->cluster_bits;
}

static inline uint64_t qcow2_l2_span(const struct qcow2 *q)
{
	return q->l2_entries << q->cluster_bits;
}

/* qcow2_map.c */
/* An L2 entry, taken apart. */
struct qcow2_entry {
	enum extent_kind kind;
	bool has_host;     /* the cluster has its space, whatever this subcluster of it is */
	uint64_t host_off; /* of the subcluster; COMPRESSED: first byte, unaligned */
};

/* Decodes the entry at `bytes`; sub: which subcluster, 0 for plain entries. 0 or -EUCLEAN. */
int qcow2_entry_read(const struct qcow2 *q, const uint8_t *bytes, unsigned sub,
		     struct qcow2_entry *e);
/* Host offset of the guest's L2 table for guest_off; 0: there is none. 0, TABLE_NEED or -errno. */
int qcow2_l2_table_off(struct qcow2 *q, uint64_t guest_off, uint64_t *l2_off,
		       struct table_need *need);
/* The slice of the active L1 table that has entry l1_idx, and the entry's byte in it. */
int qcow2_l1_slice(struct qcow2 *q, uint64_t l1_idx, struct table **out, uint32_t *byte,
		   struct table_need *need);
/* The L2 slice that maps guest_off in the table at l2_off, and the entry's byte in it. Who asks may change
 * it at once: no call that maps comes between. */
int qcow2_l2_slice(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off, struct table **out,
		   uint32_t *byte, struct table_need *need);
/* Slices of a new L2 table at l2_off, which is about to map guest_off. 0 or -ENOMEM. */
int qcow2_new_l2_slices(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off);
int qcow2_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
	      struct table_need *need);
int qcow2_link(struct layer *layer, uint64_t guest_off, uint64_t len, struct table_need *need);
int qcow2_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		  struct table_need *need);

int qcow2_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		      uint64_t *end_off, struct table_need *need);
int qcow2_table_at(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		   struct table_need *need);
int qcow2_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		    struct table_need *need);

/* qcow2_table_space.c */
/* Space for an L2 table, not counted yet, with its refcount slice in the cache. 0, TABLE_NEED (then
 * nothing was taken), or as reserve(). */
int qcow2_reserve_table(struct qcow2 *q, uint64_t *l2_off, struct table_need *need);
/* Gives back what is set aside for tables, when there is no other room. */
void qcow2_give_up_aside(struct qcow2 *q);

/* qcow2_empty.c. All that these say is of whole slices: of the one at guest_off, or those in [guest_off,
 * guest_off + len). */
bool qcow2_is_known_empty(const struct qcow2 *q, uint64_t guest_off);
/* How far from guest_off on no slice has an entry, at most max_len; 0: not known. */
uint64_t qcow2_known_empty_len(const struct qcow2 *q, uint64_t guest_off, uint64_t max_len);
void qcow2_note_empty(struct qcow2 *q, uint64_t guest_off, uint64_t len);
void qcow2_forget_empty(struct qcow2 *q, uint64_t guest_off);
void qcow2_forget_all_empty(struct qcow2 *q);

/* Where space is taken from once begin_writing has mended what it finds. */
struct qcow2_space {
	uint64_t end_idx;    /* host cluster from which on all is free */
	bool is_rebuilt;     /* the refcounts are new: no block counts anything from there on */
	uint64_t n_reftable; /* is_rebuilt: entries of the new refcount table */
};
/* qcow2_repair.c: audits the image and plans its repair, changing nothing. Refuses what begin_writing
 * refuses, with its sentence; `name` is the image's, escaped. Blocks. */
int qcow2_plan_repair(struct layer *layer, const char *name, struct qcow2_space *space,
		      struct err *err);

/* qcow2_measure.c */
int qcow2_begin_measuring(struct layer *layer, struct err *err);
int qcow2_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		  struct err *err);

/* qcow2_alloc.c */
int qcow2_begin_writing(struct layer *layer, struct err *err);
int qcow2_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
void qcow2_release(struct layer *layer, uint64_t host_off, uint64_t len);
/* Looks whether the refcount block slices of [host_off, host_off + len) are cached.
 * 0, TABLE_NEED or -errno. */
int qcow2_ref_need(struct qcow2 *q, uint64_t host_off, uint64_t len, struct table_need *need);
/* Raises the refcount of every cluster of the range from 0 to 1; qcow2_ref_need() said 0. */
void qcow2_ref_take(struct qcow2 *q, uint64_t host_off, uint64_t len);
/* The refcount of one cluster. 0, TABLE_NEED or -errno. */
int qcow2_ref_get(struct qcow2 *q, uint64_t cluster_idx, uint64_t *value, struct table_need *need);
/* Host offset of a refcount block; 0: there is none. */
uint64_t qcow2_block_off(const struct qcow2 *q, uint64_t block_idx);
/* Makes the cluster at host_off an empty refcount block, in memory. 0 or -ENOMEM. */
int qcow2_new_block(struct qcow2 *q, uint64_t host_off);
/* The refcount of one cluster whose block exists. 0, TABLE_NEED or -errno. */
int qcow2_ref_get(struct qcow2 *q, uint64_t cluster_idx, uint64_t *value, struct table_need *need);
/* Sets the refcount of n clusters from cluster_idx on; their slices are cached. */
void qcow2_ref_set(struct qcow2 *q, uint64_t cluster_idx, uint64_t n, uint64_t value);
/* How many of `want` clusters fit behind alloc_end; 0: none, and qcow2_no_room() says why. */
uint64_t qcow2_room(const struct qcow2 *q, uint64_t want);
int qcow2_no_room(const struct qcow2 *q);

/* One behind the last cluster in use: of the file, or of a block device the last one counted.
 * Blocking; the table is read. 0 or -errno. */
int qcow2_used_end(struct qcow2 *q, uint64_t *end_idx);

/* qcow2_reftable.c */
struct qcow2_growth {
	uint64_t first_idx; /* host cluster where the new blocks begin; the table follows them */
	uint64_t n_blocks;  /* refcount blocks for the ranges that blocks and table touch */
	uint64_t table_clusters;
};
/* Sizes the table that replaces one which ends where alloc_end is. Pure. */
void qcow2_plan_growth(const struct qcow2 *q, struct qcow2_growth *g);
/* Reads and checks the table, once. `name` is the image's, escaped. */
int qcow2_reftable_read(struct qcow2 *q, const char *name, struct err *err);
/* alloc_end has reached a range the table has no entry for: makes it larger. -EAGAIN: the last switch
 * is not durable yet; come again after the commit. */
int qcow2_reftable_grow(struct qcow2 *q);
int qcow2_stage(struct layer *layer, struct staged *staged);
void qcow2_reftable_durable(struct layer *layer);

/* qcow2_views.c: what reads through the backing file. */
/* Blocking: the snapshots' L1 tables, where there are snapshots or subclusters; sets pull_len and
 * l2_slice_len. -ENOTSUP, -EUCLEAN with a sentence (`name` is the image's, escaped), nothing
 * changed. */
int qcow2_views_load(struct qcow2 *q, const char *name, struct err *err);
void qcow2_views_free(struct qcow2 *q);
int qcow2_views_reread(struct layer *layer, bool commit_runs, struct err *err);
/* Adds the changed entries of the snapshots' L1 tables to a commit. 0 or -ENOMEM. */
int qcow2_views_stage(struct qcow2 *q, struct staged *staged);
int qcow2_lacks(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		struct table_need *need);

/* qcow2_fill.c: the same layer ops where q->views is set. */
int qcow2_destination(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		      struct destination *out, struct table_need *need);
/* How many references a copy of guest_off's cluster will have. 0, TABLE_NEED or -errno. */
int qcow2_copy_weight(struct qcow2 *q, uint64_t guest_off, unsigned copy, uint64_t *weight,
		      struct table_need *need);
int qcow2_views_link(struct qcow2 *q, uint64_t guest_off, uint64_t len, struct table_need *need);
int qcow2_views_publish(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
			struct table_need *need);

/* The guest's disk has left a table that others read: what is known of the tables at one place is out
 * of date. */
void qcow2_views_left(struct qcow2 *q);

/* qcow2_write.c, qcow2_unshare.c */
int qcow2_begin_guest_writes(struct layer *layer, struct err *err);
int qcow2_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		    struct table_need *need);
int qcow2_unshare(struct layer *layer, uint64_t guest_off, struct unshare *state,
		  struct table_need *need);
int qcow2_destination_write(struct layer *layer, uint64_t guest_off, uint64_t len,
			    struct destination *out, struct table_need *need);
int qcow2_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
			struct table_need *need);

/* qcow2_freed.c */
/* Room for n more items: qcow2_freed_add() can't fail then. 0 or -ENOMEM. */
int qcow2_freed_room(struct qcow2 *q, size_t n);
/* An entry in memory does not refer to host clusters [first_idx, first_idx + n) any more. */
void qcow2_freed_add(struct qcow2 *q, uint64_t first_idx, uint64_t n, bool reuse);
/* Takes up to len bytes (whole clusters) of space that was let go. False: there is none. */
bool qcow2_freed_take(struct qcow2 *q, uint64_t len, uint64_t *host_off, uint64_t *got);
/* How many references to a host cluster were dropped and are still counted. */
uint64_t qcow2_freed_pending(const struct qcow2 *q, uint64_t cluster_idx);
/* Was one dropped since the last commit began? */
bool qcow2_freed_is_fresh(const struct qcow2 *q, uint64_t cluster_idx);
/* A commit begins. 0 or -ENOMEM, changing nothing. */
int qcow2_freed_stage(struct qcow2 *q);
void qcow2_freed_free(struct qcow2 *q);
bool qcow2_has_freed(const struct layer *layer);
int qcow2_tables_durable(struct layer *layer, bool with_last, struct table_need *need);
void qcow2_drained(struct layer *layer);

/* qcow2_ext.c */
#define QCOW2_EXT_HEAD_LEN 8u
#define QCOW2_SECTOR_LEN   512u /* what the power can't tear */

/* The first cluster, and what of it the backing link and the extensions take. Offsets are bytes in it. */
struct qcow2_parts {
	uint8_t *bytes;
	size_t len;
	size_t ext_end;        /* behind the end marker */
	uint64_t name_off;     /* the backing file's name */
	size_t name_len, tail; /* tail: end of the extensions, in front of the end marker */
	bool needs_marker;     /* there is none: the name's begin is the end */
	size_t format_off;     /* the format extension's head; 0: there is none */
	size_t mark_off;       /* the head of the extension of qcow2_mark.c; 0: there is none */
};

/* Fills the rest; qcow2_read_extensions() has found every length sound. */
void qcow2_find_parts(const struct qcow2 *q, struct qcow2_parts *parts);

/* qcow2_mark.c */
#define QCOW2_MARK_LEN   8u /* of its data: flags and a reserved u32 */
#define QCOW2_MARK_MIXED 1u /* flag */
int qcow2_mark_mixed(struct layer *layer, bool mixed, struct err *err);

/* qcow2_link.c */
int qcow2_plan_link(struct layer *layer, const char *name, enum image_format format,
		    struct err *err);
int qcow2_stage_link(struct layer *layer, struct staged *staged);
void qcow2_link_durable(struct layer *layer);

/* qcow2_compressed.c */
int qcow2_decode(const struct layer *layer, const void *in, size_t in_len, void *out);

/* qcow2_encode.c */
int qcow2_encode(const struct layer *layer, unsigned level, const void *in, void *out,
		 size_t out_cap);
int qcow2_may_compress(struct layer *layer, enum layer_compression type, unsigned level,
		       struct err *err);
int qcow2_set_compression(struct layer *layer, enum layer_compression type, struct err *err);

/* qcow2_comp_alloc.c */
int qcow2_reserve_bytes(struct layer *layer, uint64_t guest_off, uint32_t len, uint64_t *host_off,
			struct table_need *need);
/* As qcow2_reserve_bytes(), for a cluster that `weight` entries will refer to. -ERANGE: no refcount
 * can count so many. */
int qcow2_comp_reserve(struct qcow2 *q, uint32_t len, uint64_t weight, uint64_t *host_off);
/* For a mapping with comp_len. Are the refcounts it will raise by `weight` (references to it)
 * cached, and is there room in them? 0, TABLE_NEED or -errno. */
int qcow2_comp_ref_need(struct qcow2 *q, const struct mapping *map, uint64_t weight,
			struct table_need *need);
/* Raises them; qcow2_comp_ref_need() said 0. */
void qcow2_comp_ref_raise(struct qcow2 *q, const struct mapping *map, uint64_t weight);
/* Its L2 entry. */
uint64_t qcow2_comp_entry(const struct qcow2 *q, const struct mapping *map);

/* qcow2_check.c */
int qcow2_check(struct layer *layer, struct check_result *result, struct err *err);

/* qcow2_repair.c */
int qcow2_repair(struct layer *layer, struct repair *repair, struct err *err);
/* Before the first write: refuses what is damaged, reclaims leaks, and, of an image marked dirty,
 * repairs the refcounts; layer->note says so. `name` is the image's, escaped. */
int qcow2_make_sound(struct layer *layer, const char *name, struct err *err);
/* 0 or -errno; durable. */
int qcow2_clear_unknown_autoclear(struct qcow2 *q, uint64_t known);

#endif
