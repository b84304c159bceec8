/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is known of the file system that a file lies on, by its type. */
#ifndef BLOCKPULL_IO_FILE_SYSTEM_H
#define BLOCKPULL_IO_FILE_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

struct file_system {
	uint32_t type; /* statfs.f_type */
	/* Its driver, in this kernel, owns the extents that it tells of: posix/holes.c. */
	bool knows_holes;
	bool is_overlay; /* overlayfs: hands most calls to the file beneath */
	bool in_memory;  /* it has no device, and keeps bytes in memory alone */
	/* It knows no RWF_NOWAIT for buffered writes: the kernel hands each to one of its
	 * threads. */
	bool writes_wait;
	/* The kernel begins buffered writes to one file without waiting for the ones before. False
	 * of all others: there they wait for each other, or may. */
	bool writes_at_once;
	bool may_clone; /* it can share blocks between files; of others a try would be wasted */
	bool is_local;  /* all that writes to its files does so through this kernel: file_watch.c */
	/* Its driver, in this kernel, writes out what is dirty in the page cache before it reads
	 * past it. Others (network, FUSE, overlayfs) hand O_DIRECT on, and may lack that order. */
	bool is_coherent;
	/* The kernel makes its files up as they are read, and calls them regular files of no
	 * bytes. */
	bool is_made_up;
};

/* By one fstatfs(). Never NULL: of a type that is not known, or where the call fails, nothing is
 * claimed. Static. */
const struct file_system *file_system_of(int fd);

#endif
