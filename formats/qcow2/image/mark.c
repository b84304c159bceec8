/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: the mark that the image's content may be a mixture of two states of its
 * backing file, because that was changed while it was copied. It is a header
 * extension of our own (docs/architecture.md): other programs step over it and
 * keep it.
 *
 * The extensions end where the backing file's name begins, so the name has to
 * give way. Each write changes bytes that nothing reads yet, or bytes of one
 * sector, with a barrier behind it; between any two of them the image has the
 * same link, and the mark or not. A mark taken back keeps its place with its
 * flag clear, so that setting it again needs no room.
 *
 * An autoclear bit was rejected: any other program that opens the image for
 * writing clears it. So was a compatible feature bit: their numbers are not ours to give out.
 */
#include "formats/qcow2/image/mark.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/extensions.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define MARK_EXT_LEN (QCOW2_EXT_HEAD_LEN + QCOW2_MARK_LEN)

/* Where a new mark goes, and the name if it is in the way: bytes of the first cluster. */
struct mark_plan {
	struct qcow2_parts parts;
	size_t end; /* behind the new end marker; the mark is at parts.tail */
	bool moves_name;
	uint64_t name_off;  /* the new place; 0: there is no name */
	size_t name_end;    /* 0: there is no name */
	bool in_one_sector; /* all that changes is, with the name, in the first one */
};

static int write_bytes(struct qcow2 *q, const struct mark_plan *plan, size_t off, size_t end)
{
	struct file *file = q->layer.file;
	int rc = file_overwrite(file, plan->parts.bytes + off, end - off, off);

	return rc ? rc : file_sync(file);
}

/* Chooses the name's new place: right behind the extensions, where all of it fits into sector 0 and
 * one write; else bytes that neither the old name nor the extensions use. */
static int place_old_name(struct mark_plan *plan)
{
	const struct qcow2_parts *p = &plan->parts;
	size_t behind = MAX(plan->end, p->name_off + p->name_len);

	if (!p->name_len)
		return 0;
	plan->name_off = plan->end;
	plan->in_one_sector = plan->end + p->name_len <= MIN(p->len, (size_t)QCOW2_SECTOR_LEN);
	if (!plan->in_one_sector)
		plan->name_off = behind;
	plan->name_end = plan->name_off + p->name_len;
	return plan->name_end <= p->len ? 0 : -ENOSPC;
}

static int place_mark(struct mark_plan *plan)
{
	const struct qcow2_parts *p = &plan->parts;

	plan->end = p->tail + MARK_EXT_LEN + QCOW2_EXT_HEAD_LEN;
	if (plan->end > p->len)
		return -ENOSPC;
	/* A name of length 0 is none, but its offset ends the extensions all the same. */
	plan->moves_name = p->needs_marker ||
			   (p->name_off < plan->end && p->name_off + p->name_len >= p->tail);
	if (!p->name_off)
		plan->moves_name = false;
	if (!plan->moves_name)
		return 0;
	/* Before the name leaves, something else must end the extensions, with the same write. */
	if (p->needs_marker && p->tail + QCOW2_EXT_HEAD_LEN > QCOW2_SECTOR_LEN)
		return -ENOSPC;
	return place_old_name(plan);
}

/* In memory: the mark at the end of the extensions, and an end marker. */
static void put_mark(struct mark_plan *plan)
{
	uint8_t *mark = plan->parts.bytes + plan->parts.tail;

	memset(mark, 0, plan->end - plan->parts.tail);
	put_be32(mark, QCOW2_EXT_MIXED);
	put_be32(mark + 4, QCOW2_MARK_LEN);
	put_be32(mark + QCOW2_EXT_HEAD_LEN, QCOW2_MARK_MIXED);
}

/* Name and mark with one write of the first sector. */
static int write_at_once(struct qcow2 *q, struct mark_plan *plan)
{
	struct qcow2_parts *p = &plan->parts;

	memmove(p->bytes + plan->name_off, p->bytes + p->name_off, p->name_len);
	put_mark(plan);
	put_be64(p->bytes + QCOW2_H_BACKING_OFF, plan->name_off);
	return write_bytes(q, plan, QCOW2_H_BACKING_OFF, MAX(plan->end, plan->name_end));
}

/* Writes the name to bytes that nothing reads; when that is durable, leads the header to it. */
static int move_name(struct qcow2 *q, struct mark_plan *plan)
{
	struct qcow2_parts *p = &plan->parts;
	size_t end = QCOW2_H_BACKING_LEN;
	int rc = 0;

	if (p->name_len) {
		memcpy(p->bytes + plan->name_off, p->bytes + p->name_off, p->name_len);
		rc = write_bytes(q, plan, plan->name_off, plan->name_end);
	}
	if (rc)
		return rc;
	if (p->needs_marker) {
		end = p->tail + QCOW2_EXT_HEAD_LEN;
		memset(p->bytes + p->tail, 0, QCOW2_EXT_HEAD_LEN);
	}
	put_be64(p->bytes + QCOW2_H_BACKING_OFF, plan->name_off);
	return write_bytes(q, plan, QCOW2_H_BACKING_OFF, end);
}

/* Writes the bytes in the next sector first: the end marker in front of them still hides them. */
static int write_mark(struct qcow2 *q, struct mark_plan *plan)
{
	size_t sector_end = round_down(plan->parts.tail, QCOW2_SECTOR_LEN) + QCOW2_SECTOR_LEN;
	int rc = 0;

	put_mark(plan);
	if (plan->end > sector_end)
		rc = write_bytes(q, plan, sector_end, plan->end);
	return rc ? rc : write_bytes(q, plan, plan->parts.tail, MIN(plan->end, sector_end));
}

static int add_mark(struct qcow2 *q, struct mark_plan *plan)
{
	int rc = place_mark(plan);

	if (!rc && plan->moves_name && plan->in_one_sector)
		return write_at_once(q, plan);
	if (!rc && plan->moves_name)
		rc = move_name(q, plan);
	return rc ? rc : write_mark(q, plan);
}

/* Changes the flag of a mark that the header has already: its word lies inside one sector. */
static int set_flag(struct qcow2 *q, struct mark_plan *plan, bool mixed)
{
	size_t off = plan->parts.mark_off + QCOW2_EXT_HEAD_LEN;
	uint32_t flags = be32(plan->parts.bytes + off) & ~QCOW2_MARK_MIXED;

	put_be32(plan->parts.bytes + off, flags | (mixed ? QCOW2_MARK_MIXED : 0));
	return write_bytes(q, plan, off, off + 4);
}

static int change_mark(struct qcow2 *q, struct mark_plan *plan, bool mixed)
{
	int rc = file_read_padded(q->layer.file, plan->parts.bytes, plan->parts.len, 0);

	if (rc)
		return rc;
	qcow2_find_parts(q, &plan->parts);
	if (plan->parts.mark_off)
		return set_flag(q, plan, mixed);
	return mixed ? add_mark(q, plan) : 0;
}

int qcow2_mark_mixed(struct layer *layer, bool mixed, struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	autofree uint8_t *bytes = malloc(layer->cluster_len);
	struct mark_plan plan = { .parts = { .bytes = bytes, .len = layer->cluster_len } };
	int rc = bytes ? change_mark(q, &plan, mixed) : -ENOMEM;
	struct shown shown;

	if (!rc) {
		layer->is_mixed = mixed;
		return 0;
	}
	if (rc == -ENOSPC && !plan.parts.mark_off && plan.end > 0)
		return err_set(err, rc,
			       "%s: its header has no room for the mark that its backing file was "
			       "changed, and was left as it is",
			       file_show(layer->file, &shown));
	return err_errno(err, rc, "%s: the mark that its backing file was changed could not be %s",
			 file_show(layer->file, &shown), mixed ? "written" : "taken away");
}
