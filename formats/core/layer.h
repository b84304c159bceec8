/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a disk image format must be able to do. A layer is one open image of a
 * backing chain: it maps ranges of the guest's disk to extents of its file
 * and, as the overlay, takes new mappings. It describes writes and never
 * performs them; map and publish never wait (see table_cache.h).
 *
 * Opening parses and checks the header only, and succeeds for anything `info`
 * can describe: what must not be read or written for lack of a feature or for
 * damage is said in unreadable / unwritable and refused by the caller that needs it.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_H
#define BLOCKPULL_FORMATS_CORE_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

struct layer;
struct table_cache;

/* Values are those of enum bpull_format in engine/blockpull.h. */
enum image_format {
	IMAGE_UNKNOWN,
	IMAGE_RAW,
	IMAGE_QCOW2,
	IMAGE_QED,
};

enum extent_kind {
	EXTENT_UNALLOCATED, /* this layer holds nothing: ask the one below */
	EXTENT_ZERO,        /* reads as zeros */
	EXTENT_DATA,
	EXTENT_COMPRESSED, /* one guest cluster, or the asked part of it */
};

/* What one layer holds of a range of the guest's disk. */
struct extent {
	enum extent_kind kind;
	uint64_t guest_off;
	uint64_t len;      /* guest bytes, > 0 */
	bool has_host;     /* DATA, COMPRESSED, and ZERO clusters that keep their space */
	uint64_t host_off; /* byte in the layer's file, of guest_off for DATA and ZERO; of the first
			    * compressed byte for COMPRESSED */
	uint32_t host_len; /* COMPRESSED: bytes to read there (the file may end earlier) */
	uint32_t skip;     /* COMPRESSED: where guest_off lies in the decoded cluster */
	/* Filled by chain_map(): which layer answered; n_layers where none does (reads zero). */
	unsigned depth;
	/* The last layer looked at, where none holds it. */
	unsigned deepest;
};

/* A new entry for one range of the overlay, granule aligned (the guest's end rounded up). */
struct mapping {
	uint64_t guest_off;
	uint64_t len;
	uint64_t host_off; /* reserved space holding the data; unused for zeros */
	bool is_zero;
	bool keep_space;    /* is_zero, publish_write(): what the clusters have stays theirs */
	unsigned copy;      /* which of the range's destinations (layer_ops.copy_target) */
	bool for_snapshots; /* as that destination says; of no interest to publish() */
	/* One whole guest cluster, compressed: bytes of it at host_off, in whole sectors; else
	 * 0. */
	uint32_t comp_len;
};

/* Bytes of the file that hold the mapping's data. */
static inline uint64_t mapping_host_len(const struct mapping *map)
{
	return map->comp_len ? map->comp_len : map->len;
}

/* How copied clusters are compressed. Values are those of enum bpull_compression. */
enum layer_compression {
	COMPRESSION_NONE,
	COMPRESSION_OWN, /* as the image's own compressed clusters */
	COMPRESSION_ZLIB,
	COMPRESSION_ZSTD,
};

/* What `info` tells of an image beside its geometry. Strings are static. */
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

/* Where a copied range goes (layer_ops.copy_target). */
struct destination {
	bool has_space; /* in a cluster that has its space already; else reserve whole clusters */
	uint64_t host_off;  /* has_space: the byte for the range's beginning; it may be 0 */
	uint64_t len;       /* guest bytes for which this holds */
	bool for_snapshots; /* the guest's disk has something else there */
};

/* What a guest write to a range meets (layer_ops.map_write). */
enum write_kind {
	WRITE_IN_PLACE, /* space of the guest's disk alone, holding its data: host_off */
	WRITE_NEW,      /* what the range is to hold must be written to write_target() and then
			 * published: whole units */
	WRITE_SHARED,   /* tables that others read too lie on the way: unshare() first */
};

/* A table that becomes the guest's own, between the calls of unshare(). All zero: not begun. */
struct unshare {
	uint64_t new_off;  /* host offset of its space; 0: none yet */
	uint64_t done_len; /* bytes of it that are made */
};

struct write_extent {
	enum write_kind kind;
	uint64_t guest_off;
	uint64_t len; /* guest bytes, > 0. NEW: up to there, beginning and end rounded out to units,
		       * is as said. SHARED: of no meaning */
	uint64_t host_off;   /* IN_PLACE: byte in layer->data, of guest_off */
	uint32_t unit_len;   /* NEW: a granule, or a cluster where all of it must move */
	bool reads_zero;     /* NEW: all of it reads zeros, from an entry of the overlay's own */
	bool is_unallocated; /* NEW: the overlay holds nothing of it: what reads it asks below */
	uint64_t lock_off, lock_len; /* SHARED: the guest bytes whose operations must stand still
				      * while unshare() runs, whole clusters */
};

/* Why an image is refused for some use; code 0: it is not. */
struct refusal {
	int code;      /* -ENOTSUP, -EUCLEAN */
	char why[256]; /* a clause, e.g. "it is encrypted (LUKS)" */
	enum err_remedy remedy;
};

/* One finding of check(), worst kinds first. */
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
	/* First byte behind the last cluster that is counted or referred to. */
	uint64_t image_end_off;
	uint64_t refs_end_off; /* qcow2: behind the last one referred to */
	/* Called for each finding, at most max_reports times; NULL for none. Text without
	 * newline. */
	void (*report)(void *opaque, bool is_leak, const char *text);
	void *opaque;
	uint64_t max_reports;
};

#define PUBLISH_MAX_GRANULES 512u

/* What is to be repaired, and what came of it. */
struct repair {
	bool all; /* else leaks only */
	/* Before and after; the caller sets their report. The second is the first where nothing
	 * could be done. */
	struct check_result found, left;
	bool was_marked; /* dirty, corrupt or in need of a check: not any more */
	char why[384];   /* something was not repaired: the reason; or "" */
};

struct layer_ops {
	enum image_format format;
	const char *name; /* "raw", "qcow2", "qed" */

	/* The longest extent of one kind beginning at guest_off, at most len bytes (both inside
	 * guest_len). Data extents are contiguous in the file. 0, TABLE_NEED or -errno (-EUCLEAN:
	 * an entry that points outside the file or is misaligned). */
	int (*map)(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		   struct table_need *need);
	/* Decodes one compressed cluster: out has cluster_len bytes. Pure; any thread.
	 * 0, -EUCLEAN (the input is damaged) or -ENOMEM. */
	int (*decode)(const struct layer *layer, const void *in, size_t in_len, void *out);

	/* *has: the guest's disk has an L2 table of its own for guest_off. *end_off: the guest byte
	 * where that table's span ends (not capped at guest_len). 0, TABLE_NEED or -errno. NULL:
	 * there are no tables. */
	int (*table_at)(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
			struct table_need *need);
	/* Where the piece of a table lies that must be loaded to map guest_off (len 0: none), and
	 * up to which guest byte (not capped) it maps. 0, TABLE_NEED or -errno. NULL: there are no
	 * tables. */
	int (*table_place)(struct layer *layer, uint64_t guest_off, struct table_need *place,
			   uint64_t *end_off, struct table_need *need);
	/* Fills a zeroed *info. NULL: nothing to tell. */
	void (*describe)(const struct layer *layer, struct layer_info *info);

	/* --- the overlay's side; NULL where the format cannot be one --- */

	/* Blocking, read-only: loads what lacks() looks at beside the guest's own tables, where
	 * begin_writing has not; sets backed_len. NULL: nothing. As begin_writing refuses. */
	int (*begin_measuring)(struct layer *layer, struct err *err);
	/* Is there a table that maps guest_off, and up to which guest byte (not capped at
	 * guest_len) would one. 0, TABLE_NEED or -errno. */
	int (*has_table)(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
			 struct table_need *need);
	/* The first host byte behind the image once n_data clusters of data and n_tables tables
	 * were reserved, with all that this entails: never too low, and not higher than the order
	 * of reservations can make it. Blocking, read-only, before begin_writing or without it.
	 * 0, -EFBIG, -EUCLEAN, -ENOMEM, I/O errors. */
	int (*measure)(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		       struct err *err);
	/* Blocking, once, before the first write: audits all tables (what can't be proven sound is
	 * refused untouched, -EUCLEAN), loads what allocation needs, finds the end of the space in
	 * use, clears unknown autoclear bits and the like (flushed). */
	int (*begin_writing)(struct layer *layer, struct err *err);
	/* Gives the tables that will map [guest_off, guest_off + len) their space, so that it lies
	 * before the data's, and a full disk finds out before data is written. Empty tables change
	 * nothing a reader could see. 0, TABLE_NEED, or as reserve(). */
	int (*alloc_tables)(struct layer *layer, uint64_t guest_off, uint64_t len,
			    struct table_need *need);
	/* What the overlay's readers still read from below: as map(), but UNALLOCATED where any of
	 * them (the guest, an internal snapshot) has no entry of its own, up to backed_len. NULL:
	 * map tells. */
	int (*map_backed)(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
			  struct table_need *need);
	/* Where copy `copy` of [guest_off, guest_off + len), all of it lacking and linked, has to
	 * go. -ENOENT: the range needs no more than `copy` copies. One copy serves all readers
	 * where refcounts allow. NULL: one copy, always to be reserved. 0, TABLE_NEED or -errno. */
	int (*copy_target)(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
			   struct destination *out, struct table_need *need);
	/* Reserves up to len bytes (a multiple of cluster_len) of contiguous host space, which no
	 * table refers to. *got may be less, not 0. Not accounted before publish. 0, -ENOSPC where
	 * the file cannot grow, -EFBIG, -ENOMEM; -EAGAIN: try again when the commit in flight is
	 * over. */
	int (*reserve)(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
	/* Gives unpublished space back. */
	void (*release)(struct layer *layer, uint64_t host_off, uint64_t len);
	/* Compressed clusters; all four are NULL where the format can't have them. */
	/* Blocking, changes nothing: can clusters be compressed so? -ENOTSUP or -EINVAL (a level
	 * the type does not have; 0: its default) with a sentence. */
	int (*may_compress)(struct layer *layer, enum layer_compression type, unsigned level,
			    struct err *err);
	/* Blocking, after may_compress() and begin_writing(): records the type, durably. */
	int (*set_compression)(struct layer *layer, enum layer_compression type, struct err *err);
	/* Compresses one cluster into at most out_cap bytes. Pure; any thread. How many; 0: they
	 * are not enough; -ENOMEM. */
	int (*encode)(const struct layer *layer, unsigned level, const void *in, void *out,
		      size_t out_cap);
	/* Reserves space for one compressed cluster, at least a sector shorter than a plain one,
	 * rounded up to sectors, linked, and with one destination, which is to be reserved. There
	 * is no way to give it back: what is never published is not accounted. TABLE_NEED, or
	 * errors as reserve(). */
	int (*reserve_bytes)(struct layer *layer, uint64_t guest_off, uint32_t len,
			     uint64_t *host_off, struct table_need *need);
	/* At most 1 MiB or PUBLISH_MAX_GRANULES of the guest's disk.
	 * Makes the mappings visible in memory and marks what must be written, by stage; the data
	 * is already written. Every range must still be unallocated. Changes nothing a reader could
	 * see before it returns 0. 0, TABLE_NEED or -errno. */
	int (*publish)(struct layer *layer, const struct mapping *maps, size_t n_maps,
		       struct table_need *need);
	/* --- the guest's writes; all NULL where the format can't be written to; for raw images
	 * only begin_guest_writes and map_write are there --- */

	/* Blocking, once, before the guest's first write, after begin_writing(): durably takes back
	 * what the header says of the disk's content and will be untrue (qcow2: bitmaps). On any
	 * thread, beside operations and commits. 0 or -errno with a sentence. */
	int (*begin_guest_writes)(struct layer *layer, struct err *err);
	/* What a write to guest_off meets, for at most len bytes (inside guest_len); unaligned ends
	 * allowed. 0, TABLE_NEED or -errno. */
	int (*map_write)(struct layer *layer, uint64_t guest_off, uint64_t len,
			 struct write_extent *out, struct table_need *need);
	/* Gives the guest's disk tables of its own on the way to guest_off, where it has none or
	 * shares them; what all disks read stays the same. No operation is between alloc_tables()
	 * and publish() in lock_off, lock_len, from the first call to the last: *state is the
	 * caller's, and says how far it has come. 0, TABLE_NEED, or as reserve(). */
	int (*unshare)(struct layer *layer, uint64_t guest_off, struct unshare *state,
		       struct table_need *need);
	/* Where units of one NEW extent go: alloc_tables() was called for them. As copy_target(),
	 * with the one copy that is the guest's; has_space: no other has written it, but it may
	 * hold anything. 0, TABLE_NEED or -errno. */
	int (*write_target)(struct layer *layer, uint64_t guest_off, uint64_t len,
			    struct destination *out, struct table_need *need);
	/* As publish(), on the guest's disk alone, replacing whatever the ranges hold there: whole
	 * units, or, is_zero, whole granules, all NEW or IN_PLACE (none SHARED). Data or zeros of a
	 * cluster that is compressed, or shared with a snapshot, must come as the whole cluster.
	 * -ENOTSUP: is_zero where !has_zero_entries. The space that falls free is kept until
	 * free_unreferenced() and reuse_freed() have said that no request needs it. */
	int (*publish_write)(struct layer *layer, const struct mapping *maps, size_t n_maps,
			     struct table_need *need);
	/* Everything that was staged before the last stage() (with_last: and by it) is durable:
	 * what it let go is counted free from now on (dirty again: the next commit writes it), but
	 * not used again yet. Never fails; what needs a table that is not cached waits for a later
	 * call, and *need names it: TABLE_NEED, else 0. */
	int (*free_unreferenced)(struct layer *layer, bool with_last, struct table_need *need);
	/* Does free_unreferenced() or reuse_freed() have anything to do, now or after more
	 * commits? */
	bool (*has_freed)(const struct layer *layer);
	/* Called some time after free_unreferenced(): operations that began before that call are
	 * over, so the space it counted free may be used again. It is given back to the file
	 * system. */
	void (*reuse_freed)(struct layer *layer);

	/* Adds what is dirty outside the table cache (the refcount table) to a commit.
	 * 0 or -ENOMEM, changing nothing. */
	int (*stage)(struct layer *layer, struct staged *staged);
	/* Called when a commit's STAGE_REFTABLE writes are durable: what they replaced is free. */
	void (*reftable_durable)(struct layer *layer);
	/* Blocking, when all is committed: what is kept of the tables outside the cache is read
	 * again from disk, for the proof. NULL: nothing is. */
	int (*reread)(struct layer *layer, bool commit_runs, struct err *err);
	/* What stage_link() is to do: lead the link to this name and format; NULL: drop it.
	 * Blocking, reads the header, writes nothing. -ENAMETOOLONG, -ENOTSUP (no place for it that
	 * a cut survives) with a sentence. */
	int (*plan_link)(struct layer *layer, const char *name, enum image_format format,
			 struct err *err);
	/* Adds the one write within sector 0 that changes the backing link, STAGE_HEADER, and what
	 * it needs before, STAGE_REFCOUNT. */
	int (*stage_link)(struct layer *layer, struct staged *staged);
	/* Called when that is durable. */
	void (*link_durable)(struct layer *layer);
	/* Blocking: records in the image, durably, that its content may be a mixture of two states
	 * of its backing file, or takes that back; sets is_mixed. The guest's disk reads the same
	 * before, afterwards and after a cut at any moment. No commit and no begin_guest_writes()
	 * is running; a plan_link() made before is void. 0; -ENOSPC: the header has no room for it,
	 * nothing was changed; I/O errors, after which the mark may be there or not; each with a
	 * sentence. NULL: the format has no place for it. */
	int (*mark_mixed)(struct layer *layer, bool mixed, struct err *err);

	/* Blocking: takes out what was reserved and nothing refers to, where the format can't keep
	 * track of it. Nothing is dirty, in flight or being read. 0 and in *n_left the clusters
	 * that stay leaked (no space for what it takes); -errno: a write or barrier failed, as in a
	 * commit. NULL: nothing of the kind can be. */
	int (*reclaim)(struct layer *layer, uint64_t *n_left, struct err *err);

	/* Read-only and blocking: the image's metadata on disk, in bounded memory. 0 when it ran
	 * to the end whatever it found; -errno when it could not run. */
	int (*check)(struct layer *layer, struct check_result *result, struct err *err);

	/* Blocking, on a writable file of which nothing is cached dirty: repairs what check()
	 * finds, so that a cut at any moment leaves the guest's disk as it was. Never changes what
	 * refers to what. NULL where check is. 0, whatever could be done; -errno: a read, write or
	 * barrier failed. */
	int (*repair)(struct layer *layer, struct repair *repair, struct err *err);

	/* Frees the layer, not its files. */
	void (*close)(struct layer *layer);
};

struct layer {
	const struct layer_ops *ops;
	struct file *file;
	/* What DATA extents lie in: `file`, or the external data file, which has the guest's byte N
	 * at N. Opened and closed by chain/chain.c. */
	struct file *data;
	struct table_cache *cache;
	uint64_t guest_len; /* bytes: the virtual size */
	/* Bytes: the longest disk that reads through the backing file; more than guest_len where
	 * a snapshot is longer. Set by begin_writing. */
	uint64_t backed_len;
	uint32_t cluster_len; /* bytes; 512 for raw */
	uint32_t granule_len; /* bytes, a fraction of a cluster: what has its own mapping */
	bool has_backing;
	bool no_tables;        /* what it holds is recorded nowhere: nothing to prove from disk */
	bool has_copies;       /* copy_target() may say more than "reserve one copy" */
	bool has_data_file;    /* its data lies in another file */
	const char *data_name; /* that one's, as recorded; never trusted; or NULL */
	bool has_zero_entries; /* publish() takes mappings that read zeros */
	/* Marked: what was copied into it may be of two states of its backing file. */
	bool is_mixed;
	char *backing_name;               /* as recorded; never trusted, never printed raw */
	enum image_format backing_format; /* IMAGE_UNKNOWN: none recorded */
	char backing_format_name[32];     /* as recorded, where it is none we know */
	bool probe_backing; /* no format can be recorded but raw: the specification says to probe */
	/* chain/chain.c: the user called its backing file raw. begin_writing records that where the
	 * next one to open the image would probe, or part of the guest's disk would be read in
	 * another way. */
	bool backing_told_raw;
	struct refusal unreadable;
	struct refusal unwritable;
	/* Its tables may mean anything, so that a check would say nothing; of the reasons why it is
	 * unreadable, those that are not about its data alone (encryption is). */
	struct refusal uncheckable;
	/* Host bytes from here on have never been used by the image: a file that grows reads zeros
	 * there. UINT64_MAX where that can't be said (a block device). Set by begin_writing. */
	uint64_t zero_from;
	uint64_t alloc_end; /* end of space in use or reserved; set by begin_writing */
	/* Tables that a pull under way has still to make, at most; 0: not known. The engine's walk
	 * counts them, the format takes off what it makes. */
	uint64_t tables_wanted;
	/* What begin_writing had to mend first, a sentence for the user; "": nothing. */
	char note[512];

	/* chain/chain.c: the last unallocated span seen; backing layers never change while open. */
	uint64_t hint_off, hint_end;
	unsigned n_users; /* chains of this engine that hold it */
	bool is_overlay;
};

/* As raw_open(). */
int qcow2_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err);
/* As raw_open(). */
int qed_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err);

/* Formats that are recognised and not supported: a static half sentence, or NULL. The name is
 * QEMU's. */
#define FOREIGN_HEAD_LEN 72u

const char *format_name(enum image_format format);
enum image_format format_by_name(const char *name, size_t len); /* IMAGE_UNKNOWN: none of ours */
void layer_close(struct layer *layer);                          /* NULL is allowed */

/* Blocking map, loading what is missing. */
int layer_map_now(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out);
/* A refusal as an error: 0 or its code, with "NAME: why" and what to do. */
int layer_refuse(const struct layer *layer, const struct refusal *refusal, struct err *err);

/* Creation, blocking, into an empty file. */
struct image_create {
	uint64_t guest_len;       /* bytes; a multiple of 512 for qcow2 and qed */
	uint32_t cluster_len;     /* 0: 65536 */
	const char *backing_name; /* NULL: none; as it is to be recorded */
	enum image_format backing_format;
	/* qcow2 */
	unsigned version;       /* 0: 3 */
	unsigned refcount_bits; /* 0: 16 */
	bool lazy_refcounts;
	bool zstd; /* compression type */
	/* qed */
	uint32_t table_clusters; /* 0: 4 */
};

int qcow2_create(struct file *file, const struct image_create *how, struct err *err);
int qed_create(struct file *file, const struct image_create *how, struct err *err);

#endif
