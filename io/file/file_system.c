/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One row for each file system of which something is known. What a row does not
 * claim costs time and never a byte, is_made_up apart: so a type that is missing
 * here is safe.
 */
#include "io/file/file_system.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include "io/base.h"

/* Of no kernel header, or not of older ones. */
#ifndef BCACHEFS_SUPER_MAGIC
#define BCACHEFS_SUPER_MAGIC 0xca451a4e
#endif
#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif

static const struct file_system known[] = {
	{ .type = EXT4_SUPER_MAGIC, /* and ext2, ext3 */
	  .knows_holes = true,
	  .writes_wait = true,
	  .is_local = true,
	  .is_coherent = true },
	{ .type = XFS_SUPER_MAGIC,
	  .knows_holes = true,
	  .writes_at_once = true,
	  .may_clone = true,
	  .is_local = true,
	  .is_coherent = true },
	{ .type = BTRFS_SUPER_MAGIC,
	  .knows_holes = true,
	  .writes_at_once = true,
	  .may_clone = true,
	  .is_local = true,
	  .is_coherent = true },
	{ .type = TMPFS_MAGIC, .knows_holes = true, .in_memory = true, .is_local = true },
	{ .type = RAMFS_MAGIC, .knows_holes = true, .in_memory = true }, /* it calls all data */
	{ .type = F2FS_SUPER_MAGIC, .is_local = true },
	{ .type = ZFS_SUPER_MAGIC, .is_local = true },
	/* It clones where the file system beneath can. */
	{ .type = OVERLAYFS_SUPER_MAGIC, .is_overlay = true, .may_clone = true, .is_local = true },
	{ .type = BCACHEFS_SUPER_MAGIC, .may_clone = true },
	{ .type = OCFS2_SUPER_MAGIC, .may_clone = true },
	{ .type = NFS_SUPER_MAGIC, .may_clone = true }, /* from 4.2 on */
	{ .type = PROC_SUPER_MAGIC, .is_made_up = true },
	{ .type = DEBUGFS_MAGIC, .is_made_up = true },
	{ .type = TRACEFS_MAGIC, .is_made_up = true },
};

const struct file_system *file_system_of(int fd)
{
	static const struct file_system unknown;
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return &unknown;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if ((uint32_t)fs.f_type == known[i].type)
			return &known[i];
	return &unknown;
}
