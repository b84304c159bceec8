/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Files of the frontend's as memory of ours. */
#ifndef TOOLS_VHOST_MAPPING_H
#define TOOLS_VHOST_MAPPING_H

#include "tools/vhost/memory.h"

/* Maps [off, off + len) of a file, which must reach that far, under the guard. *map and *map_len
 * are for vhost_unmap(). Returns where `off` lies, or NULL with *why, half a sentence. The
 * descriptor stays the caller's, and may be closed. */
void *vhost_map(int fd, uint64_t off, uint64_t len, void **map, size_t *map_len, const char **why);
void vhost_unmap(void *map, size_t map_len); /* NULL is allowed */

/* Maps a region and adds it. NULL, or half a sentence on what is wrong. */
const char *vhost_memory_add(struct vhost_memory *memory, const struct vhost_region_message *region,
			     int fd);
void vhost_memory_remove(struct vhost_memory *memory, unsigned i);
void vhost_memory_clear(struct vhost_memory *memory);

#endif
