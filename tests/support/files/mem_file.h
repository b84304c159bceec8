/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files in memory, and an opener over a few named ones: what the unit tests of
 * formats/ use for a disk. It knows nothing of io/io.h, so a format that
 * submitted a request would not link. Locks are counted by inode the way
 * QEMU's lock bytes work out; faults can be asked for.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_MEM_FILE_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_MEM_FILE_H

#include "io/file.h"
#include "io/file/opener.h"

/* The bytes behind one inode; shared by all files opened on it. */
struct mem_inode {
	uint64_t ino;
	uint8_t *bytes;
	uint64_t len, room;
	int64_t mtime_ns;
	bool *is_hole; /* by block; NULL: no holes */
	uint64_t block_len;
	bool is_block;
	int read_error, write_error; /* -errno for every call from now on; 0: none */
	unsigned n_open, n_shared, n_overlay;
	uint64_t n_reads, n_writes, n_syncs;
};

/* A file alone, without a name space. It owns its bytes, zeros at first. Writable. */
struct file *mem_file_new(const char *name, uint64_t len);
struct mem_inode *mem_file_inode(const struct file *file);
/* Every block of block_len bytes that is all zeros is a hole, until the file grows or shrinks. */
void mem_file_punch(struct mem_inode *inode, uint64_t block_len);

struct mem_name {
	char *name, *real_name;
	struct mem_inode *inode;
	struct mem_name *next;
};

struct mem_fs {
	struct file_opener opener; /* first */
	struct mem_name *names;
	uint64_t next_ino;
	bool no_locks; /* a file system without them */
	unsigned n_opens;
};

void mem_fs_init(struct mem_fs *fs);
/* Nothing may be open any more: checked. */
void mem_fs_destroy(struct mem_fs *fs);
/* An inode of len zero bytes with its first name. Relative names are real below /mem. */
struct mem_inode *mem_fs_add(struct mem_fs *fs, const char *name, uint64_t len);
/* A further name: a hard link (real_name NULL) or a symlink to real_name. */
void mem_fs_link(struct mem_fs *fs, const char *name, const char *real_name,
		 struct mem_inode *inode);

#endif
