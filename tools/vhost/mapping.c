/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A file is mapped from its beginning: an offset need not be a multiple of the
 * page's size where pages are huge, and only address space is lost by it.
 */
#include "tools/vhost/mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/vhost/guard.h"

/* Of huge pages the file's own block size tells. */
static size_t mapping_page_len(const struct stat *st)
{
	size_t page = sysconf(_SC_PAGESIZE), block = st->st_blksize;

	return block > page && !(block & (block - 1)) && block >= (1u << 21) ? block : page;
}

void *vhost_map(int fd, uint64_t off, uint64_t len, void **map, size_t *map_len, const char **why)
{
	struct stat st;
	size_t page;

	*map = NULL;
	*why = "its descriptor is of no plain file";
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return NULL;
	*why = "its file is too short";
	if (off > (uint64_t)st.st_size || len > (uint64_t)st.st_size - off)
		return NULL;
	page = mapping_page_len(&st);
	*map_len = (off + len + page - 1) & ~(page - 1);
	*why = "its file can't be mapped";
	*map = mmap(NULL, *map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (*map == MAP_FAILED) {
		*map = NULL;
		return NULL;
	}
	madvise(*map, *map_len, MADV_DONTDUMP);
	if (!guard_watch(*map, *map_len, page)) {
		munmap(*map, *map_len);
		*map = NULL;
		return NULL;
	}
	return (uint8_t *)*map + off;
}

void vhost_unmap(void *map, size_t map_len)
{
	if (!map)
		return;
	guard_forget(map);
	munmap(map, map_len);
}

const char *vhost_memory_add(struct vhost_memory *memory, const struct vhost_region_message *m,
			     int fd)
{
	struct vhost_region r = { .guest_addr = m->guest_addr,
				  .len = m->len,
				  .user_addr = m->user_addr };
	const char *why = vhost_region_wrong(memory, m);

	if (why)
		return why;
	r.host = vhost_map(fd, m->mmap_off, m->len, &r.map, &r.map_len, &why);
	if (!r.host)
		return why;
	memory->regions[memory->n++] = r;
	return NULL;
}

void vhost_memory_remove(struct vhost_memory *memory, unsigned i)
{
	vhost_unmap(memory->regions[i].map, memory->regions[i].map_len);
	memory->regions[i] = memory->regions[--memory->n];
}

void vhost_memory_clear(struct vhost_memory *memory)
{
	while (memory->n)
		vhost_memory_remove(memory, memory->n - 1);
}
