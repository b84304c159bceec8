/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Block status by SEEK_DATA and SEEK_HOLE, one extent remembered. A hole is
 * believed only when the answers fit together; every oddity means "data", which
 * costs a read and never a byte. A hole reported wrongly would be copied as
 * zeros, so doubt has only one direction.
 *
 * FIEMAP was rejected: it tells of the disk, not of the contents, and needs a
 * sync to be true.
 */
#include <errno.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/posix_file.h"

/* OpenZFS reported data not yet written out as holes, release after release. */
#define POSIX_HOLES_ZFS_MAGIC 0x2fc12fc1

bool posix_holes_trusted(int fd)
{
	struct statfs fs;
	if (fstatfs(fd, &fs))
		return false;
	return (uint32_t)fs.f_type != POSIX_HOLES_ZFS_MAGIC;
}

bool posix_may_clone(int fd)
{
	static const uint32_t magics[] = {
		0x58465342, /* XFS */
		0x9123683e, /* btrfs */
		0xca451a4e, /* bcachefs */
		0x7461636f, /* OCFS2 */
		0x794c7630, /* overlayfs, of what is below it */
		0x6969,     /* NFS 4.2 */
	};
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(magics); i++)
		if ((uint32_t)fs.f_type == magics[i])
			return true;
	return false;
}

/* The hole reaches the end, or the file is shorter than it was: then only a read may tell. */
static bool posix_holes_until_end(int fd, uint64_t off)
{
	struct stat st;
	return !fstat(fd, &st) && st.st_size >= 0 && (uint64_t)st.st_size > off;
}

/* Asks the kernel; false: it made no sense, or there is nothing at off. */
static bool posix_holes_ask(struct posix_file *pf, uint64_t off)
{
	int fd = pf->file.fd;
	uint64_t len = pf->file.len;
	off_t data = lseek(fd, (off_t)off, SEEK_DATA);

	if (data < 0 && errno == ENXIO && posix_holes_until_end(fd, off)) {
		pf->extent_is_hole = true;
		pf->extent_end = len;
	} else if (data > (off_t)off) {
		pf->extent_is_hole = true;
		pf->extent_end = MIN((uint64_t)data, len);
	} else if (data == (off_t)off) {
		off_t hole = lseek(fd, (off_t)off, SEEK_HOLE);
		if (hole <= (off_t)off)
			return false;
		pf->extent_is_hole = false;
		pf->extent_end = MIN((uint64_t)hole, len);
	} else {
		return false;
	}
	pf->extent_off = off;
	return true;
}

int posix_holes_status(struct file *file, uint64_t off, struct file_status *out)
{
	struct posix_file *pf = (struct posix_file *)file;
	bool known = off >= pf->extent_off && off < pf->extent_end && !file->writable;

	*out = (struct file_status){ .len = file->len - off };
	if (!known && !posix_holes_ask(pf, off)) {
		pf->extent_off = pf->extent_end = 0;
		/* It will make no more sense at the next offset; a shrunk file is caught by reads. */
		file->trust_holes = false;
		return 0;
	}
	out->len = pf->extent_end - off;
	out->is_hole = pf->extent_is_hole;
	return 0;
}
