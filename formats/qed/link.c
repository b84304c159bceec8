/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: the backing link, dropped or replaced by another. Feature bits and the
 * name's place are in the 64-byte header, which is written at once inside
 * sector 0. A new name goes to bytes of the header clusters that nothing uses
 * and is durable before the header names it. Writing it over the old one was
 * rejected: a cut would leave half of each.
 */
#include "formats/qed/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

struct qed_new_link {
	char name[QED_MAX_NEW_NAME_LEN + 1];
	uint32_t name_len, name_off; /* byte in the file */
	bool raw;
};

int qed_plan_link(struct layer *layer, const char *name, enum image_format format, struct err *err)
{
	struct qed *q = qed_of(layer);
	size_t len = name ? strlen(name) : 0;
	uint64_t old_off = le32(q->header + QED_H_BACKING_OFF);
	uint64_t old_end = old_off + le32(q->header + QED_H_BACKING_LEN);
	autofree struct qed_new_link *link = calloc(1, sizeof(*link));
	struct shown shown;
	int rc = 0;

	free(q->new_link);
	q->new_link = NULL;
	if (!name)
		return 0;
	if (!link)
		return err_set(err, -ENOMEM, "out of memory");
	if (len > QED_MAX_NEW_NAME_LEN)
		rc = -ENAMETOOLONG;
	/* The header has at least 4096 bytes: two names of the length that QEMU takes fit beside
	 * each other, unless the old one lies in the middle. */
	if (!rc && old_off >= QED_HEADER_LEN + len)
		link->name_off = QED_HEADER_LEN;
	else if (!rc && old_end + len <= q->header_len)
		link->name_off = MAX(old_end, (uint64_t)QED_HEADER_LEN);
	else if (!rc)
		rc = -ENOTSUP;
	if (rc)
		return err_set(err, rc,
			       "%s: its header has no room for the new base's name beside the old "
			       "one; nothing was changed",
			       file_show(layer->file, &shown));
	memcpy(link->name, name, len);
	link->name_len = len;
	link->raw = format == IMAGE_RAW;
	q->new_link = STEAL(link);
	return 0;
}

/* I3: the whole header in one write inside sector 0, so that no cut leaves half of it.
 * NEED_CHECK stays as it is (clear since begin_writing): the order of commits protects the image.
 * The old name's bytes stay: nothing reads them without the link. */
int qed_stage_link(struct layer *layer, struct staged *staged)
{
	struct qed *q = qed_of(layer);
	const struct qed_new_link *link = q->new_link;
	uint64_t features = q->features & ~(QED_F_BACKING_FILE | QED_F_NO_PROBE);
	uint8_t header[QED_HEADER_LEN];
	int rc = 0;

	memcpy(header, q->header, sizeof(header));
	if (link) {
		features |= QED_F_BACKING_FILE | (link->raw ? QED_F_NO_PROBE : 0);
		rc = staged_add(staged, STAGE_NAME, layer->file, link->name_off, link->name,
				link->name_len);
	}
	put_le64(header + QED_H_FEATURES, features);
	put_le32(header + QED_H_BACKING_OFF, link ? link->name_off : 0);
	put_le32(header + QED_H_BACKING_LEN, link ? link->name_len : 0);
	return rc ? rc : staged_add(staged, STAGE_HEADER, layer->file, 0, header, sizeof(header));
}

/* Makes the same change to the header in memory, which a later change starts from. */
void qed_link_durable(struct layer *layer)
{
	struct qed *q = qed_of(layer);
	const struct qed_new_link *link = q->new_link;

	q->features &= ~(QED_F_BACKING_FILE | QED_F_NO_PROBE);
	if (link)
		q->features |= QED_F_BACKING_FILE | (link->raw ? QED_F_NO_PROBE : 0);
	put_le64(q->header + QED_H_FEATURES, q->features);
	put_le32(q->header + QED_H_BACKING_OFF, link ? link->name_off : 0);
	put_le32(q->header + QED_H_BACKING_LEN, link ? link->name_len : 0);
	layer->backing.told_raw = false; /* that was about the old backing file */
	layer->backing.probe = link && !link->raw;
	free(q->new_link);
	q->new_link = NULL;
}
