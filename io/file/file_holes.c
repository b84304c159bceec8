/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/file/file_holes.h"

#include "io/base.h"
#include "io/file.h"

void file_judge_holes(struct file *file, enum file_holes want, bool known, bool claims)
{
	file->holes_known = known;
	file->trust_holes = want == FILE_HOLES_TRUST || (want == FILE_HOLES_AUTO && known);
	file->holes_claimed = want == FILE_HOLES_AUTO && !known && claims;
}

void file_doubt_holes(struct file *file)
{
	file->trust_holes = file->trust_holes && file->holes_known;
	file->of_source.doubts_zeros = true;
}

int file_status(struct file *file, uint64_t off, struct file_status *out)
{
	uint64_t left;
	int rc;

	if (off >= file->len) {
		*out = (struct file_status){ 0 };
		return 0;
	}
	left = file->len - off;
	*out = (struct file_status){ .len = left };
	if (!file->trust_holes)
		return 0;
	rc = file->ops->status(file, off, out);
	if (rc)
		return rc;
	/* An answer about nothing would make the caller ask for ever. */
	if (!out->len)
		*out = (struct file_status){ .len = left };
	out->len = MIN(out->len, left);
	return 0;
}

uint64_t file_known_hole(struct file *file, uint64_t off)
{
	struct file_status status;

	if (!file->holes_known || file_status(file, off, &status) || !status.is_hole)
		return 0;
	return status.len;
}
