/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Block status by SEEK_DATA and SEEK_HOLE, one extent remembered. A hole is
 * believed only when the answers fit together; every oddity means "data", which
 * costs a read and never a byte. A hole reported wrongly would be copied as
 * zeros, so doubt has only one direction.
 *
 * WHOM TO BELIEVE. File systems over a network or in another process (FUSE,
 * virtiofs, NFS, 9p, CIFS) pass on what a server says, and servers were seen to
 * call data a hole; so was ZFS, of data not yet written out. A list of liars is
 * never complete, so this is a list of those whose driver, in this kernel, owns
 * the extents that it tells of: file_system.knows_holes. (eCryptfs shows the type of what
 * lies beneath it, and calls all of a file data.) A block device has no holes to tell of.
 *
 * OVERLAYFS, which is every container, hands SEEK_DATA to the file beneath,
 * whatever that lies on. statx() and FIEMAP go to that file, too, and there tell drivers
 * apart that no list of names reaches:
 *   - "no dump" among the attributes that statx() knows of. Drivers that own
 *     inodes say so; FUSE, NFS, 9p and CIFS never do, and overlayfs itself adds
 *     "immutable" and "append only", not this.
 *   - FIEMAP, which FUSE, NFS, 9p and ZFS have not.
 *   - each hole is asked of both: what FIEMAP calls written, or about to be, is
 *     no hole. One contradiction, and the file is read from then on.
 * A preallocated range (unwritten) may be a hole: SEEK_DATA looks at the page
 * cache for what was written to it since. What FIEMAP does not show yet (delayed
 * allocation, in some drivers) is no danger either, because it only ever takes
 * trust away. The price: an overlay on tmpfs, which has no FIEMAP, is read. In
 * memory that is cheap, and ZFS can't be told from it.
 *
 * FIEMAP as the only witness was rejected: it tells of the disk, not of the
 * contents, and needs a sync to be true.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file/file_holes.h"
#include "io/file/file_system.h"
#include "io/libc.h"
#include "io/posix/file.h"
#include "io/posix/holes.h"

#define FIEMAP_EXTENTS 16 /* that one FIEMAP returns */

/* What lies below an overlayfs owns its inodes and its extents. */
static bool is_sound_below(int fd)
{
	struct fiemap map = { .fm_length = FIEMAP_MAX_OFFSET };
	struct statx sx;

	if (libc_statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx) ||
	    !(sx.stx_attributes_mask & STATX_ATTR_NODUMP))
		return false;
	return !ioctl(fd, FS_IOC_FIEMAP, &map);
}

void posix_holes_judge(struct posix_file *pf, enum file_holes want)
{
	struct file *file = &pf->file;
	bool known = pf->fs->knows_holes;
	struct stat st;
	off_t hole;

	if (file->is_block) {
		file_judge_holes(file, FILE_HOLES_READ, false, false);
		return;
	}
	if (pf->fs->is_overlay)
		known = pf->confirm_holes = is_sound_below(file->fd);
	/* Where all is called data there is nothing to be gained. */
	hole = known ? -1 : lseek(file->fd, 0, SEEK_HOLE);
	file_judge_holes(file, want, known,
			 hole >= 0 && !fstat(file->fd, &st) && hole < st.st_size);
}

/* FIEMAP, too, says that nothing is written in [off, end). */
static bool fiemap_confirms(int fd, uint64_t off, uint64_t end)
{
	_Alignas(struct fiemap) char
		room[sizeof(struct fiemap) + FIEMAP_EXTENTS * sizeof(struct fiemap_extent)];
	struct fiemap *map = (struct fiemap *)room;

	while (off < end) {
		*map = (struct fiemap){ .fm_start = off,
					.fm_length = end - off,
					.fm_extent_count = FIEMAP_EXTENTS };
		if (ioctl(fd, FS_IOC_FIEMAP, map))
			return false;
		for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
			const struct fiemap_extent *e = &map->fm_extents[i];

			if ((e->fe_flags & (FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_UNKNOWN)) !=
			    FIEMAP_EXTENT_UNWRITTEN)
				return false;
			off = MAX(off, e->fe_logical + e->fe_length);
		}
		if (map->fm_mapped_extents < FIEMAP_EXTENTS)
			return true;
	}
	return true;
}

/* True: the file is longer than off, so a hole there reaches its end. False: it became shorter, and
 * only a read may tell. */
static bool is_before_end(int fd, uint64_t off)
{
	struct stat st;
	return !fstat(fd, &st) && st.st_size >= 0 && (uint64_t)st.st_size > off;
}

struct found {
	bool is_hole;
	uint64_t end;
};

/* Asks the kernel what lies at off. False: nothing does, or the answers contradict each other. */
static bool ask_kernel(const struct posix_file *pf, uint64_t off, struct found *out)
{
	int fd = pf->file.fd;
	uint64_t len = pf->file.len;
	off_t data = lseek(fd, (off_t)off, SEEK_DATA);

	if (data < 0 && errno == ENXIO && is_before_end(fd, off)) {
		out->is_hole = true;
		out->end = len;
	} else if (data > (off_t)off) {
		out->is_hole = true;
		out->end = MIN((uint64_t)data, len);
	} else if (data == (off_t)off) {
		off_t hole = lseek(fd, (off_t)off, SEEK_HOLE);
		if (hole <= (off_t)off)
			return false;
		out->is_hole = false;
		out->end = MIN((uint64_t)hole, len);
	} else {
		return false;
	}
	if (out->is_hole && pf->confirm_holes && !fiemap_confirms(fd, off, out->end))
		return false;
	return true;
}

int posix_holes_status(struct file *file, uint64_t off, struct file_status *out)
{
	struct posix_file *pf = (struct posix_file *)file;
	bool known = off >= pf->extent_off && off < pf->extent_end && !file->writable;
	struct found found = { .is_hole = pf->extent_is_hole, .end = pf->extent_end };

	*out = (struct file_status){ .len = file->len - off };
	if (!known && !ask_kernel(pf, off, &found)) {
		pf->extent_off = pf->extent_end = 0;
		/* It will make no more sense at the next offset; a shrunk file is caught by
		 * reads. */
		file->trust_holes = false;
		return 0;
	}
	/* Nothing is kept of a file that is written to. */
	if (!known && !file->writable) {
		pf->extent_is_hole = found.is_hole;
		pf->extent_off = off;
		pf->extent_end = found.end;
	}
	out->len = found.end - off;
	out->is_hole = found.is_hole;
	return 0;
}
