/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A second description of a file that is only read, opened with O_DIRECT: what no cache has comes
 * from the device without filling the page cache on its way. Which reads go there is chosen in
 * engine/copy/phases/cold.c, and why.
 *
 * Setting O_DIRECT on the first description, by fcntl(), was rejected: it holds for all requests
 * at once, those of a guest among them. Reads with RWF_DONTCACHE were rejected: what one of them
 * drops is what the next one had read ahead, and the device reads some of it twice.
 *
 * WHAT IS CACHED is looked at once, here: programs confine themselves when their files are open.
 * mincore() tells of a file that the user owns or may write to, and calls all others cached.
 * preadv2() with RWF_NOWAIT was rejected: asking it makes the kernel read the page.
 */
#include "io/posix/past_cache.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file/cached.h"
#include "io/file/file_system.h"
#include "io/posix/file.h"
#include "io/posix/lookup.h"

/* A shorter file is read before a second description would pay. */
#define MIN_PAST_LEN (16 * MiB)

#define LOOK_LEN 4096

uint32_t posix_direct_align(int fd, bool is_block)
{
	int flags = fcntl(fd, F_GETFL), sector = 0;
	uint32_t align = 4096;
#ifdef STATX_DIOALIGN
	struct statx sx;
#endif

	if (flags < 0 || !(flags & O_DIRECT))
		return 1;
	if (is_block && !ioctl(fd, BLKSSZGET, &sector) && sector > 0)
		align = (uint32_t)sector;
#ifdef STATX_DIOALIGN
	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && (sx.stx_mask & STATX_DIOALIGN))
		align = MAX(sx.stx_dio_mem_align, sx.stx_dio_offset_align);
#endif
	if (is_power_of_2(align) && align <= 64 * KiB)
		return align;
	fcntl(fd, F_SETFL, flags & ~O_DIRECT);
	return 1;
}

static bool is_coherent(const struct file *file)
{
	return file->is_block || ((const struct posix_file *)file)->fs->is_coherent;
}

/* A second description is a hint only, so it is opened only among the first eighth of the
 * descriptors that the process may have: the limit is met by that many files earlier at most. */
static bool is_scarce(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) || (rlim_t)fd >= limit.rlim_cur / 8;
}

/* The page cache has the page at off, or that can't be told. */
static bool has_page(char *map, uint64_t off)
{
	unsigned char there = 1;

	return mincore(map + round_down(off, (uint64_t)sysconf(_SC_PAGESIZE)), LOOK_LEN, &there) ||
	       there & 1;
}

/* NULL: its last page is cached, or nothing can be told. The mapping is never touched, and
 * has no access, or mlockall(MCL_FUTURE) would read all of the file here. */
static struct file_cached *look_at_pages(const struct file *file)
{
	size_t len = (size_t)file->len;
	struct file_cached *seen;
	char *map;

	if (len != file->len)
		return NULL;
	map = mmap(NULL, len, PROT_NONE, MAP_SHARED, file->fd, 0);
	if (map == MAP_FAILED)
		return NULL;
	seen = has_page(map, len - 1) ? NULL : calloc(1, sizeof(*seen));
	if (seen) {
		seen->step = file_cached_step(len);
		for (uint64_t off = 0; off < len; off += seen->step)
			if (has_page(map, off))
				file_cached_set(seen, off);
	}
	munmap(map, len);
	return seen;
}

static int open_direct(const struct file *file, uint32_t *align)
{
	int fd = posix_reopen(file->fd, O_RDONLY | O_DIRECT | O_NOCTTY);

	if (fd < 0)
		return -1;
	*align = posix_direct_align(fd, file->is_block);
	if (*align > 1 && !is_scarce(fd))
		return fd;
	close(fd);
	return -1;
}

void posix_open_past_cache(struct file *file)
{
	uint32_t align;
	int fd;

	if (file->writable || file->is_given || file->io_align > 1 || file->len < MIN_PAST_LEN ||
	    is_scarce(file->fd) || !is_coherent(file))
		return;
	file->past_cache.seen = look_at_pages(file);
	if (!file->past_cache.seen)
		return;
	fd = open_direct(file, &align);
	if (fd < 0)
		return;
	file->past_cache.fd = fd;
	file->past_cache.align = align;
}
