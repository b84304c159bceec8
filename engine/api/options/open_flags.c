/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flags of opening: a table, and one loop over it. Checks of its own in each call
 * were rejected: in that way flatten once let a guest in, although it had not made
 * the new image ready for a guest's writes.
 */
#include "engine/api/options/open_flags.h"

#include <errno.h>

#include "engine/blockpull.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define ON(way)    (1u << (way))
#define ONLY_READS (ON(OPEN_FLATTEN) | ON(OPEN_INFO) | ON(OPEN_MEASURE) | ON(OPEN_CHECK))
#define CHAINS     (ON(OPEN_DISK) | ON(OPEN_FLATTEN) | ON(OPEN_INFO) | ON(OPEN_MEASURE))

const struct open_flag open_flags[] = {
	{ BPULL_DISK_READ_ONLY, CHAINS, 0, 0,
	  "READ_ONLY does not go with a check: it says by itself whether it writes" },
	{ BPULL_DISK_FORCE_SHARE, CHAINS | ON(OPEN_CHECK), BPULL_DISK_READ_ONLY, 0,
	  "FORCE_SHARE goes with READ_ONLY only, and not with a repair: what is written to needs "
	  "its locks" },
	{ BPULL_DISK_NO_BACKING, ON(OPEN_DISK) | ON(OPEN_INFO), BPULL_DISK_READ_ONLY, 0,
	  "NO_BACKING goes with READ_ONLY only, and not where the chain is copied or measured" },
	{ BPULL_DISK_READ_HOLES, CHAINS, 0, 0,
	  "READ_HOLES does not go with a check: it reads no holes" },
	{ BPULL_DISK_TRUST_HOLES, CHAINS, 0, BPULL_DISK_READ_HOLES,
	  "TRUST_HOLES does not go with READ_HOLES, nor with a check: it reads no holes" },
	{ BPULL_DISK_GUEST_IO, ON(OPEN_DISK), 0, 0,
	  "GUEST_IO goes with bpull_disk_open() only: a file that is still being made, and an "
	  "image that is only described, serve no guest" },
	{ BPULL_DISK_COPY_ON_READ, ON(OPEN_DISK), BPULL_DISK_GUEST_IO, BPULL_DISK_READ_ONLY,
	  "COPY_ON_READ goes with bpull_disk_open() and GUEST_IO only, without READ_ONLY" },
	{ BPULL_DISK_DIRECT, ON(OPEN_DISK) | ON(OPEN_MEASURE), 0, BPULL_DISK_READ_ONLY,
	  "DIRECT is about what is written: it goes with bpull_disk_open() without READ_ONLY, and "
	  "with measuring for that" },
	{ BPULL_DISK_INACTIVE, ON(OPEN_DISK), 0, BPULL_DISK_FORCE_SHARE,
	  "INACTIVE goes with bpull_disk_open() only, and without FORCE_SHARE: the locks that it "
	  "puts off are never taken then" },
};
const size_t open_flags_n = ARRAY_LEN(open_flags);

int open_flags_check(enum open_way way, uint32_t flags, struct err *err)
{
	uint32_t given = flags | (ONLY_READS & ON(way) ? BPULL_DISK_READ_ONLY : 0);
	uint32_t unknown = flags;

	for (size_t i = 0; i < open_flags_n; i++) {
		const struct open_flag *f = &open_flags[i];

		unknown &= ~f->flag;
		if (flags & f->flag &&
		    (!(f->ways & ON(way)) || f->needs & ~given || f->excludes & flags))
			return err_set(err, -EINVAL, "%s", f->why);
	}
	if (unknown)
		return err_set(err, -EINVAL,
			       "flags 0x%x: this version of the library knows none "
			       "of them",
			       unknown);
	return 0;
}

enum file_holes open_flags_holes(uint32_t flags)
{
	if (flags & BPULL_DISK_READ_HOLES)
		return FILE_HOLES_READ;
	return flags & BPULL_DISK_TRUST_HOLES ? FILE_HOLES_TRUST : FILE_HOLES_AUTO;
}

int open_flags_check_direct(uint32_t flags, const struct layer *overlay, struct err *err)
{
	struct shown shown;

	if (!(flags & BPULL_DISK_DIRECT))
		return 0;
	if (overlay->file->io_align <= 1 || overlay->data->io_align <= 1)
		return err_set(
			err, -ENOTSUP,
			"%s: its file system has no direct I/O (O_DIRECT), which was asked for; "
			"nothing was changed: leave that out",
			file_show(overlay->file, &shown));
	if (overlay->cluster_len < MAX(overlay->file->io_align, overlay->data->io_align))
		return err_set(
			err, -ENOTSUP,
			"%s: its clusters (%u bytes) are smaller than the blocks of direct I/O "
			"(%u), which was asked for; nothing was changed: leave that out",
			file_show(overlay->file, &shown), overlay->cluster_len,
			MAX(overlay->file->io_align, overlay->data->io_align));
	return 0;
}
