/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: the backing link, dropped or replaced by another.
 *
 * Dropping it zeroes bytes 8-19. Where the extensions have no end marker and end
 * with the name, a marker goes over the name with the same write: else the name's
 * bytes would be read as an extension, and no reader would open the image.
 *
 * Replacing it changes three things: the name, the header's pointer to it, and the
 * format in an extension. The name goes to bytes of the first cluster that nothing
 * uses, and is durable before the header leads to it; the pointer and the format
 * change with one write inside sector 0, so that no cut leaves a name with another
 * file's format.
 *
 * A header whose format extension lies behind sector 0, or that has no room
 * for one there, is refused before anything is copied. Rewriting the first
 * cluster in several writes, as others do, was rejected: between any two of
 * them the image reads another disk, or none.
 */
#include "formats/qcow2/image/backing_link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/extensions.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define EXT_HEAD_LEN QCOW2_EXT_HEAD_LEN
#define SECTOR_LEN   QCOW2_SECTOR_LEN

/* The first cluster with the new link in it, and what of it is to be written. */
struct qcow2_new_link {
	/* The extensions as they are to be, the rest as it was when the draft was made. A commit
	 * may give up before its header and another one stage again, so staging never changes the
	 * draft. */
	uint8_t sector[SECTOR_LEN];
	size_t ext_off, ext_end; /* extension bytes that change, in sector 0 */
	char name[QCOW2_MAX_NAME_LEN + 1];
	size_t name_len;   /* 0: the link is dropped */
	uint64_t name_off; /* byte in the first cluster */
	enum image_format format;
};

/* Puts an end marker into the draft, over the old name: when this is on disk, the header leads to
 * that name no more. */
static int put_marker(struct qcow2_parts *d, struct qcow2_new_link *link)
{
	if (!d->needs_marker)
		return 0;
	if (d->tail + EXT_HEAD_LEN > MIN(d->len, (size_t)SECTOR_LEN))
		return -ENOTSUP;
	memset(d->bytes + d->tail, 0, EXT_HEAD_LEN);
	if (!link->ext_end) /* else put_format() has changed bytes in front of it */
		link->ext_off = d->tail;
	d->ext_end = link->ext_end = d->tail + EXT_HEAD_LEN;
	return 0;
}

/* Puts the format's extension into the draft: in place of the old one, or behind the last one with
 * an end marker behind it. The old name may lie there: when this is on disk, the header leads to it
 * no more. */
static int put_format(struct qcow2_parts *d, const char *format, struct qcow2_new_link *link)
{
	size_t len = strlen(format), at = d->format_off, need = EXT_HEAD_LEN + 8;
	uint32_t old_len = at ? be32(d->bytes + at + 4) : 0;

	if (at && old_len == len && !memcmp(d->bytes + at + EXT_HEAD_LEN, format, len))
		return 0;
	if (!at || round_up(old_len, 8) != 8) {
		d->needs_marker = false;
		at = d->tail;
		need += EXT_HEAD_LEN;
		if (d->format_off && d->format_off + EXT_HEAD_LEN + round_up(old_len, 8) == d->tail)
			at = d->format_off; /* the last one: the end marker may move */
		else if (d->format_off)
			return -ENOTSUP;
	}
	if (at + need > MIN(d->len, (size_t)SECTOR_LEN))
		return -ENOTSUP;
	memset(d->bytes + at, 0, need);
	put_be32(d->bytes + at, QCOW2_EXT_BACKING_FORMAT);
	put_be32(d->bytes + at + 4, len);
	memcpy(d->bytes + at + EXT_HEAD_LEN, format, len);
	link->ext_off = at;
	link->ext_end = at + need;
	d->ext_end = MAX(d->ext_end, link->ext_end);
	return 0;
}

/* Chooses bytes that nothing uses: between the extensions and the old name, or behind both. Where
 * neither has room, but sector 0 has, the new name goes over the old one: that sector is written at
 * once. */
static int place_new_name(const struct qcow2_parts *d, struct qcow2_new_link *link)
{
	size_t old_end = d->name_len ? d->name_off + d->name_len : 0;
	size_t behind = MAX(d->ext_end, old_end);

	if (d->name_off >= d->ext_end + link->name_len)
		link->name_off = d->ext_end;
	else if (behind + link->name_len <= d->len)
		link->name_off = behind;
	else if (d->ext_end + link->name_len <= MIN(d->len, (size_t)SECTOR_LEN))
		link->name_off = d->ext_end;
	else
		return -ENOTSUP;
	return 0;
}

/* On error *why says what is in the way; NULL: reading the header failed. */
static int draft_link(struct qcow2 *q, struct qcow2_parts *d, struct qcow2_new_link *link,
		      const char **why)
{
	int rc = file_read_padded(q->layer.file, d->bytes, d->len, 0);

	*why = NULL;
	if (rc)
		return rc;
	qcow2_find_parts(q, d);
	if (link->name_len) {
		*why = "its header's first sector has no room for the new base's format; record "
		       "that format with qemu-img rebase -u -F first";
		rc = put_format(d, format_name(link->format), link);
	}
	if (rc)
		return rc;
	*why = "its header extensions end with the backing file's name instead of a marker, and "
	       "its first sector has no room for one; write the header anew with qemu-img "
	       "rebase -u first";
	rc = put_marker(d, link);
	if (rc || !link->name_len)
		goto out;
	*why = "its header cluster has no room for the new base's name beside the old one";
	rc = place_new_name(d, link);
out:
	memcpy(link->sector, d->bytes, MIN(d->len, sizeof(link->sector)));
	return rc;
}

int qcow2_plan_link(struct layer *layer, const char *name, enum image_format format,
		    struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	autofree struct qcow2_new_link *link = calloc(1, sizeof(*link));
	autofree uint8_t *bytes = malloc(layer->cluster_len);
	struct qcow2_parts draft = { .bytes = bytes, .len = layer->cluster_len };
	const char *why = "out of memory";
	struct shown shown;
	int rc = -ENOMEM;

	free(q->new_link);
	q->new_link = NULL;
	if (name && strlen(name) > QCOW2_MAX_NAME_LEN) {
		rc = -ENAMETOOLONG;
		why = "the new base's name is longer than 1023 bytes";
	} else if (link && bytes) {
		link->name_len = name ? strlen(name) : 0;
		if (name)
			memcpy(link->name, name, link->name_len);
		link->format = format;
		rc = draft_link(q, &draft, link, &why);
	}
	if (rc && !why)
		return err_errno(err, rc, "%s: its header can't be read; nothing was changed",
				 file_show(layer->file, &shown));
	if (rc)
		return err_set(err, rc, "%s: %s; nothing was changed",
			       file_show(layer->file, &shown), why);
	if (link->name_len || link->ext_end)
		q->new_link = STEAL(link);
	return 0;
}

/* Puts into a copy of the draft the pointer to the new name, and header fields that this process
 * may have changed since the draft was made. */
static void put_link_fields(const struct qcow2 *q, uint8_t *sector)
{
	put_be64(sector + QCOW2_H_BACKING_OFF, q->new_link->name_off);
	put_be32(sector + QCOW2_H_BACKING_LEN, q->new_link->name_len);
	put_be64(sector + QCOW2_H_SIZE, q->hdr.guest_len);
	put_be32(sector + QCOW2_H_L1_SIZE, q->hdr.l1_size);
	put_be64(sector + QCOW2_H_L1_OFF, q->hdr.l1_off);
	put_be64(sector + QCOW2_H_REFTABLE_OFF, q->hdr.reftable_off);
	put_be32(sector + QCOW2_H_REFTABLE_CLUSTERS, q->hdr.reftable_clusters);
	if (q->hdr.version < 3)
		return;
	put_be64(sector + QCOW2_H_INCOMPAT, q->hdr.incompat);
	put_be64(sector + QCOW2_H_AUTOCLEAR, q->hdr.autoclear);
}

/* The name first, which nothing leads to yet (STAGE_NAME); then sector 0 as far as it changes.
 * A name that overlaps the old one's bytes goes with the sector itself. */
static int stage_new_link(struct qcow2 *q, struct staged *staged)
{
	const struct qcow2_new_link *link = q->new_link;
	uint64_t old_off = be64(link->sector + QCOW2_H_BACKING_OFF);
	uint64_t old_end = old_off + be32(link->sector + QCOW2_H_BACKING_LEN);
	uint64_t name_end = link->name_off + link->name_len;
	size_t end = QCOW2_H_CLUSTER_BITS;
	uint8_t sector[SECTOR_LEN];
	int rc = 0;

	memcpy(sector, link->sector, sizeof(sector));
	if (link->ext_end)
		end = MAX(end, link->ext_end);
	if (!link->name_len) {
		/* Dropped: there is no name to write. */
	} else if (link->name_off < old_end && name_end > old_off) {
		assert(name_end <= SECTOR_LEN); /* place_new_name() */
		memcpy(sector + link->name_off, link->name, link->name_len);
		end = MAX(end, name_end);
	} else {
		rc = staged_add(staged, STAGE_NAME, q->layer.file, link->name_off, link->name,
				link->name_len);
		/* The sector's write must not bring older bytes back. */
		if (link->name_off < SECTOR_LEN)
			memcpy(sector + link->name_off, link->name,
			       MIN(link->name_len, SECTOR_LEN - link->name_off));
	}
	put_link_fields(q, sector);
	return rc ? rc
		  : staged_add(staged, STAGE_HEADER, q->layer.file, QCOW2_H_BACKING_OFF,
			       sector + QCOW2_H_BACKING_OFF, end - QCOW2_H_BACKING_OFF);
}

void qcow2_link_durable(struct layer *layer)
{
	free(qcow2_of(layer)->new_link);
	qcow2_of(layer)->new_link = NULL;
}

/* Where the link is only dropped, bytes 8-19 are written, which no cut can halve. The format
 * extension and the name's bytes stay: nothing reads them without the link. */
int qcow2_stage_link(struct layer *layer, struct staged *staged)
{
	static const uint8_t no_link[QCOW2_H_CLUSTER_BITS - QCOW2_H_BACKING_OFF];

	if (qcow2_of(layer)->new_link)
		return stage_new_link(qcow2_of(layer), staged);
	return staged_add(staged, STAGE_HEADER, layer->file, QCOW2_H_BACKING_OFF, no_link,
			  sizeof(no_link));
}
