/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Memory of another process's file, which may become shorter at any moment: a
 * page that is not there any more is then SIGBUS where we touch it. Inside what
 * is watched here the signal puts a page of zeros there, and the access goes on.
 */
#ifndef TOOLS_VHOST_GUARD_H
#define TOOLS_VHOST_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Takes SIGBUS for the whole process; one that is not ours ends it as before. 0 or -errno. */
int guard_install(void);
/* Watches a mapping, whose pages are of page_len bytes. False: too many are watched. */
bool guard_watch(void *map, size_t map_len, size_t page_len);
/* The same, of memory whose loss no guard_take_hit() tells: its user sees zeros. */
bool guard_watch_quietly(void *map, size_t map_len, size_t page_len);
/* Before it is unmapped. */
void guard_forget(void *map);
/* True: a page was put in place since the last call. */
bool guard_take_hit(void);

#endif
