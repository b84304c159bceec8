/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a disk image format must be able to do. A layer is one open image of a
 * backing chain: it maps ranges of the guest's disk to extents of its file
 * and, as the overlay, takes new mappings. It describes writes and never
 * performs them; map and publish never wait (see table_cache.h).
 *
 * Opening parses and checks the header only, and succeeds for anything `info`
 * can describe: what must not be read or written for lack of a feature or for
 * damage is said in `refused`, and refused by the caller that needs it.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_H
#define BLOCKPULL_FORMATS_CORE_LAYER_H

#include <assert.h>
#include <errno.h>
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
	IMAGE_LAST = IMAGE_QED,
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
	uint64_t host_off; /* DATA, ZERO: byte in layer->data, of guest_off; COMPRESSED: of the
			    * first compressed byte in layer->file */
	uint32_t host_len; /* COMPRESSED: bytes to read there (the file may end earlier) */
	uint32_t skip;     /* COMPRESSED: where guest_off lies in the decoded cluster */
	/* Filled by chain_map(): which layer answered; n_layers where none does (reads zero). */
	unsigned depth;
	/* The last layer looked at, where none holds it. */
	unsigned deepest;
};

/* Why an image is refused for some use; code 0: it is not. */
struct refusal {
	int code;      /* -ENOTSUP, -EUCLEAN */
	char why[256]; /* a clause, e.g. "it is encrypted (LUKS)" */
	enum err_remedy remedy;
};

/* What a format can do. A table that is NULL is a thing that it can't, or need not, do; callers ask
 * the functions of the table's header. */
struct layer_ops {
	enum image_format format;
	const char *name;                          /* as format_name() has it */
	const struct layer_tables_ops *tables;     /* layer_tables.h: qcow2, QED */
	const struct layer_fill_ops *fill;         /* layer_fill.h: what can be an overlay */
	const struct layer_compress_ops *compress; /* layer_compress.h: qcow2 */
	const struct layer_guest_ops *guest_write; /* layer_guest.h: all but a flatten's target */
	const struct layer_shared_ops *shared;     /* layer_shared.h: qcow2 */
	const struct layer_link_ops *link;         /* layer_header.h: what can be an overlay */
	const struct layer_claims_ops *claims;     /* layer_header.h: qcow2 */
	const struct layer_check_ops *check;       /* layer_check.h: qcow2, QED */
	const struct layer_resize_ops *resize;     /* layer_resize.h: all but a flatten's target */

	/* The longest extent of one kind beginning at guest_off, at most len bytes (both inside
	 * guest_len). Data extents are contiguous in the file. 0, TABLE_NEED or -errno (-EUCLEAN:
	 * an entry that points outside the file or is misaligned). */
	int (*map)(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		   struct table_need *need);
	/* Frees the layer, not its files. */
	void (*close)(struct layer *layer);
};

/* What a caller must not do with an image; chain/chain.c and the engine refuse it. */
struct layer_refusals {
	struct refusal read;
	struct refusal write;
	/* Its tables may mean anything, so a check would say nothing. These are the reasons against
	 * reading that are not about the data alone (encryption is). */
	struct refusal check;
};

/* The backing file as the header names it. Opening sets it, and a commit that leads elsewhere. */
struct layer_backing {
	char *name;               /* as recorded; never trusted, never printed raw */
	enum image_format format; /* IMAGE_UNKNOWN: none recorded */
	char format_name[32];     /* as recorded, where it is none we know */
	bool probe; /* no format can be recorded but raw: the specification says to probe */
	/* chain/chain.c: the user called its backing file raw. begin_writing records that where the
	 * next one to open the image would probe, or part of the guest's disk would be read in
	 * another way. */
	bool told_raw;
};

/* A format's open function (qed_open() is one) sets ops, and what the header says: guest_len,
 * cluster_len, granule_len, flags, backing, refused. All else it leaves 0: format_open() sets what
 * is the same for all formats, and begin_writing what only an overlay needs. */
struct layer {
	const struct layer_ops *ops;
	struct file *file;
	/* What DATA extents lie in: `file`, or the external data file, which has the guest's byte N
	 * at N. Opened and closed by chain/layer_set.c. */
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
	const char *data_name; /* the data file's name as recorded; never trusted; or NULL */
	bool has_zero_entries; /* publish() takes mappings that read zeros */
	/* Marked: what was copied into it may be of two states of its backing file. */
	bool is_mixed;
	struct layer_backing backing;
	struct layer_refusals refused;
	/* Host bytes from here on have never been used by the image: a file that grows reads zeros
	 * there. UINT64_MAX where that can't be said (a block device). Set by begin_writing. */
	uint64_t zero_from;
	uint64_t alloc_end; /* end of space in use or reserved; set by begin_writing */
	/* Tables that a pull under way has still to make, at most; 0: not known. The engine's walk
	 * counts them, the format takes off what it makes. */
	uint64_t tables_wanted;
	/* What begin_writing had to mend first, a sentence for the user; "": nothing. */
	char note[512];

	/* chain/map.c: the last unallocated range that was seen, guest bytes. Kept of backing
	 * layers only, which don't change while they are open. */
	struct {
		uint64_t off, end;
	} hint;
	unsigned n_users; /* chains of this engine that hold it */
	bool is_overlay;
	/* The engine: a check of this backing layer found that no cluster has two owners. */
	bool is_checked;
	uint64_t number; /* format_open(): no other layer of the process has it, or has had it */
};

const char *format_name(enum image_format format);
enum image_format format_by_name(const char *name, size_t len); /* IMAGE_UNKNOWN: none of ours */

/* A program supplies its bytes, or its tables. */
static inline bool layer_is_of_source(const struct layer *layer)
{
	return layer->file->is_source || layer->data->is_source;
}

static inline enum image_format layer_format(const struct layer *layer)
{
	return layer->ops->format;
}

static inline const char *layer_format_name(const struct layer *layer)
{
	return layer->ops->name;
}

/* 0: the extent answers a question for [guest_off, guest_off + len). Else an error: a wrong answer,
 * whatever led to it, must neither stop a walk nor lead it astray. */
static inline int layer_judge_extent(const struct extent *e, uint64_t guest_off, uint64_t len)
{
	return e->guest_off == guest_off && e->len && e->len <= len ? 0 : -EUCLEAN;
}

/* layer_ops.map; in here, since each read of a guest passes once a layer. */
static inline int layer_map(struct layer *layer, uint64_t guest_off, uint64_t len,
			    struct extent *out, struct table_need *need)
{
	int rc;

	assert(len && guest_off < layer->guest_len && len <= layer->guest_len - guest_off);
	rc = layer->ops->map(layer, guest_off, len, out, need);
	return rc ? rc : layer_judge_extent(out, guest_off, len);
}

void layer_close(struct layer *layer); /* NULL is allowed */

/* Blocking map, loading what is missing. */
int layer_map_now(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out);
/* A refusal as an error: 0 or its code, with "NAME: why" and what to do. */
int layer_refuse(const struct layer *layer, const struct refusal *refusal, struct err *err);

#endif
