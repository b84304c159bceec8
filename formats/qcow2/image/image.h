/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The state of one open qcow2 image, which all files of qcow2/ share. */
#ifndef BLOCKPULL_FORMATS_QCOW2_IMAGE_IMAGE_H
#define BLOCKPULL_FORMATS_QCOW2_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/qcow2/image/disk.h"
#include "io/base.h"

struct codecs;
struct qcow2_new_link;
struct qcow2_snapshots;

enum qcow2_compression {
	QCOW2_COMPRESSION_ZLIB = 0,
	QCOW2_COMPRESSION_ZSTD = 1,
};

/* The header, checked. */
struct qcow2_hdr {
	unsigned version; /* 2 or 3 */
	uint32_t header_len;
	uint32_t crypt_method;
	uint64_t guest_len; /* as it is recorded, or is to be; the disk's may be longer in memory */
	uint32_t l1_size;   /* entries */
	uint64_t l1_off;    /* host bytes */
	uint64_t reftable_off;
	uint32_t reftable_clusters;
	unsigned refcount_order;
	uint32_t n_snapshots;
	uint64_t snapshots_off;
	uint64_t incompat, compat, autoclear;
	enum qcow2_compression compression;
};

/* Header extension; host bytes. */
struct qcow2_luks {
	bool is_present;
	uint64_t off, len;
};

/* Header extension; host bytes. Bitmaps that the autoclear bit does not vouch for are not
 * present. */
struct qcow2_bitmaps {
	bool is_present;
	uint32_t n;
	uint64_t dir_off, dir_len;
};

/* tables/empty.c: a bit for each L2 slice of the guest's disk that holds nothing. */
struct qcow2_empty {
	uint64_t *bits; /* NULL: none yet */
	uint64_t n_bits;
};

/* space/space.c: clusters for the next L2 tables, not counted. Host bytes. */
struct qcow2_reserved_l2 {
	uint64_t off, end;
};

/* space/reftable.c, refcount.c, from begin_writing() on: the refcount table as it is to be. */
struct qcow2_reftable {
	uint8_t *bytes;              /* on-disk order */
	uint64_t n;                  /* entries */
	uint64_t dirty_lo, dirty_hi; /* entries changed since staged; lo == hi: none */
	bool is_moved;               /* grown: the header must be switched to it */
	uint64_t old_off;            /* freed when the switch is durable; 0: none */
	uint32_t old_clusters;
	bool old_is_staged;
};

/* write/resize.c: length and L1 table that the header is to have. */
struct qcow2_grown {
	bool is_dirty;
	/* Host bytes, whole clusters: freed when the new one is durable; 0: none. */
	uint64_t old_l1_off, old_l1_len;
	bool old_is_staged;
};

/* space/compressed_space.c: space taken for compressed clusters, from where it is free. */
struct qcow2_comp_tail {
	uint64_t off, end; /* host bytes; off is at a sector */
	uint64_t n_refs;   /* given out to the host cluster that off lies inside of */
};

/* space/freed.c: one reference less to each of n host clusters. */
struct qcow2_freed {
	uint64_t first_idx, n;
	bool reuse; /* when nothing refers to them any more they may be handed out again */
};

struct qcow2_freed_list {
	struct qcow2_freed *items;
	size_t n, cap;
};

struct qcow2_freed_lists {
	struct qcow2_freed_list fresh, staged, written;
	struct qcow2_freed_list unused;   /* counted free; operations may still read them */
	struct qcow2_freed_list taken;    /* none does: being given back to the file system */
	struct qcow2_freed_list reusable; /* handed out again */
};

struct qcow2 {
	struct layer layer; /* first: a struct layer * is a struct qcow2 * */

	struct qcow2_hdr hdr;
	struct qcow2_luks luks;
	struct qcow2_bitmaps bitmaps;
	char *data_file_name;  /* NULL: none recorded */
	struct codecs *codecs; /* NULL: none are kept */

	/* Geometry. */
	unsigned cluster_bits;
	unsigned l2_entry_len; /* 8, or 16 with extended L2 */
	uint64_t l2_entries;   /* in one table */
	uint64_t refs_per_block;
	uint32_t l2_slice_len; /* bytes of an L2 table cached at a time */

	struct qcow2_empty empty;
	/* snapshots/, from begin_writing() on; NULL: the guest's disk alone reads through the
	 * backing file, cluster by cluster. */
	struct qcow2_snapshots *snapshots;

	struct qcow2_reserved_l2 reserved_l2;
	struct qcow2_reftable reftable;
	struct qcow2_grown grown;
	/* Refcount and L1 tables that are replaced, durably: their clusters are still counted. */
	struct gaps unfreed;
	struct gaps gaps; /* reserved space that came back */
	struct qcow2_freed_lists freed;
	struct qcow2_comp_tail comp_tail;
	bool type_undurable; /* compress/encode.c: a write of the compression type failed */
	struct qcow2_new_link *new_link; /* the link to be, or NULL */
};

static inline struct qcow2 *qcow2_of(const struct layer *layer)
{
	return (struct qcow2 *)layer;
}

/* Data clusters are in another file, where they have no refcounts. */
static inline bool qcow2_is_external(const struct qcow2 *q)
{
	return q->hdr.incompat & QCOW2_INCOMPAT_DATA_FILE;
}

static inline uint64_t qcow2_cluster_len(const struct qcow2 *q)
{
	return UINT64_C(1) << q->cluster_bits;
}

/* Where the cluster around guest_off begins. */
static inline uint64_t qcow2_cluster_start(const struct qcow2 *q, uint64_t guest_off)
{
	return round_down(guest_off, q->layer.cluster_len);
}

/* How many bytes of [guest_off, end) lie in the first cluster. */
static inline uint64_t qcow2_len_in_cluster(const struct qcow2 *q, uint64_t guest_off, uint64_t end)
{
	return MIN(end, qcow2_cluster_start(q, guest_off) + q->layer.cluster_len) - guest_off;
}

/* Where the mapping puts the cluster around guest_off. */
static inline uint64_t qcow2_mapped_host_off(const struct qcow2 *q, const struct mapping *map,
					     uint64_t guest_off)
{
	return map->host_off + (qcow2_cluster_start(q, guest_off) - map->guest_off);
}

/* There is a table to read: it begins in the file, and ends there or in the part of the last
 * cluster that the file does not have. What is missing of that reads as zeros
 * (file_read_padded()). */
static inline bool qcow2_holds_table(const struct qcow2 *q, uint64_t host_off, uint64_t len)
{
	uint64_t end;

	return host_off < q->layer.file->len && !add_u64(host_off, len, &end) &&
	       end <= round_up(q->layer.file->len, qcow2_cluster_len(q));
}

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

/* An L2 entry, taken apart. */
struct qcow2_entry {
	enum extent_kind kind;
	bool has_host;     /* the cluster has its space, whatever this subcluster of it is */
	uint64_t host_off; /* of the subcluster; COMPRESSED: first byte, unaligned */
};

/* Where space is taken from once begin_writing has mended what it finds. */
struct qcow2_space {
	uint64_t end_idx;    /* host cluster from which on all is free */
	bool is_rebuilt;     /* the refcounts are new: no block counts anything from there on */
	uint64_t n_reftable; /* is_rebuilt: entries of the new refcount table */
};

#endif
