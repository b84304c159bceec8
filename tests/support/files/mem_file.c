/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See mem_file.h. Out of memory is the end of the test here: what is being
 * tested are the formats, so everything here aborts through xrealloc().
 */
#include "tests/support/files/mem_file.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "io/base.h"
#include "io/file/file_holes.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"

struct mem_file {
	struct file file; /* first */
	struct mem_inode *inode;
	enum file_lock lock;
	bool owns_inode;
};

static void *xrealloc(void *old, size_t len)
{
	/* Volatile, or the compiler makes a malloc() of it, which fail_alloc.c may fail. */
	static void *(*volatile uncounted)(void *, size_t) = realloc;
	void *new = uncounted(old, len ? len : 1);

	assert(new);
	return new;
}

static char *xstrdup(const char *s)
{
	size_t len = strlen(s) + 1;

	return memcpy(xrealloc(NULL, len), s, len);
}

struct mem_inode *mem_file_inode(const struct file *file)
{
	return ((const struct mem_file *)file)->inode;
}

static void inode_resize(struct mem_inode *inode, uint64_t len)
{
	if (len > inode->room) {
		inode->room = MAX(len, 2 * inode->room);
		inode->bytes = xrealloc(inode->bytes, inode->room);
	}
	if (len > inode->len)
		memset(inode->bytes + inode->len, 0, len - inode->len);
	inode->len = len;
	free(inode->is_hole);
	inode->is_hole = NULL;
}

static struct mem_inode *inode_new(uint64_t ino, uint64_t len)
{
	struct mem_inode *inode = xrealloc(NULL, sizeof(*inode));

	*inode = (struct mem_inode){ .ino = ino };
	inode_resize(inode, len);
	return inode;
}

static void inode_free(struct mem_inode *inode)
{
	free(inode->bytes);
	free(inode->is_hole);
	free(inode);
}

void mem_file_punch(struct mem_inode *inode, uint64_t block_len)
{
	uint64_t n = div_round_up(inode->len, block_len);

	free(inode->is_hole);
	inode->is_hole = xrealloc(NULL, n * sizeof(bool));
	inode->block_len = block_len;
	for (uint64_t i = 0; i < n; i++)
		inode->is_hole[i] = true;
	for (uint64_t off = 0; off < inode->len; off++)
		if (inode->bytes[off])
			inode->is_hole[off / block_len] = false;
}

static ssize_t mem_read_at(struct file *file, void *buf, size_t len, uint64_t off)
{
	struct mem_inode *inode = mem_file_inode(file);

	inode->n_reads++;
	if (inode->read_error)
		return inode->read_error;
	if (off >= inode->len)
		return 0;
	len = MIN((uint64_t)len, inode->len - off);
	memcpy(buf, inode->bytes + off, len);
	return (ssize_t)len;
}

static int mem_write_at(struct file *file, const void *buf, size_t len, uint64_t off)
{
	struct mem_inode *inode = mem_file_inode(file);

	inode->n_writes++;
	if (inode->write_error)
		return inode->write_error;
	if (off + len > inode->len)
		inode_resize(inode, off + len);
	memcpy(inode->bytes + off, buf, len);
	file->len = inode->len;
	return 0;
}

static int mem_sync(struct file *file)
{
	mem_file_inode(file)->n_syncs++;
	return mem_file_inode(file)->write_error;
}

static int mem_truncate(struct file *file, uint64_t len)
{
	inode_resize(mem_file_inode(file), len);
	file->len = len;
	return 0;
}

static int mem_status(struct file *file, uint64_t off, struct file_status *out)
{
	const struct mem_inode *inode = mem_file_inode(file);

	if (inode->read_error)
		return inode->read_error;
	if (!inode->is_hole) {
		*out = (struct file_status){ .len = inode->len - off };
		return 0;
	}
	uint64_t end = off, block = off / inode->block_len;
	bool is_hole = inode->is_hole[block];
	while (end < inode->len && inode->is_hole[end / inode->block_len] == is_hole)
		end = MIN(++block * inode->block_len, inode->len);
	*out = (struct file_status){ .len = end - off, .is_hole = is_hole };
	return 0;
}

static void mem_close(struct file *file)
{
	struct mem_file *mf = (struct mem_file *)file;

	mf->inode->n_open--;
	mf->inode->n_shared -= mf->lock == FILE_LOCK_SHARED;
	mf->inode->n_overlay -= mf->lock == FILE_LOCK_OVERLAY;
	if (mf->owns_inode)
		inode_free(mf->inode);
	free(file->name);
	free(file->real_name);
	free(mf);
}

static const struct file_ops mem_file_ops = {
	.read_at = mem_read_at,
	.write_at = mem_write_at,
	.sync = mem_sync,
	.truncate = mem_truncate,
	.status = mem_status,
	.close = mem_close,
};

static struct mem_file *file_on(struct mem_inode *inode, const char *name, const char *real_name,
				bool write)
{
	struct mem_file *mf = xrealloc(NULL, sizeof(*mf));

	*mf = (struct mem_file){
		.file = {
			.ops = &mem_file_ops,
			.name = xstrdup(name),
			.real_name = xstrdup(real_name),
			.len = inode->len,
			.writable = write,
			.is_block = inode->is_block,
			.trust_holes = !inode->is_block,
			.holes_known = !inode->is_block,
			.io_align = 1,
			.dev = 1,
			.ino = inode->ino,
			.mtime_ns = inode->mtime_ns,
			.fd = -1,
			.slot = -1,
		},
		.inode = inode,
	};
	inode->n_open++;
	return mf;
}

struct file *mem_file_new(const char *name, uint64_t len)
{
	struct mem_file *mf = file_on(inode_new(1, len), name, name, true);

	mf->owns_inode = true;
	return &mf->file;
}

static struct mem_name *fs_find(struct mem_fs *fs, const char *name)
{
	struct mem_name *entry = fs->names;

	while (entry && strcmp(entry->name, name))
		entry = entry->next;
	return entry;
}

/* Locks of other descriptors conflict as QEMU's bytes do: readers share, an overlay is alone. */
static int fs_lock(struct mem_fs *fs, struct mem_file *mf, const struct file_open *how,
		   struct err *err)
{
	struct mem_inode *inode = mf->inode;
	bool wants_overlay = how->lock == FILE_LOCK_OVERLAY;

	if (how->lock_unsupported)
		*how->lock_unsupported = fs->no_locks && how->lock != FILE_LOCK_NONE;
	if (how->lock == FILE_LOCK_NONE || fs->no_locks)
		return 0;
	if (inode->n_overlay || (wants_overlay && inode->n_shared))
		return err_set(err, -EBUSY, "'%s' is locked", how->name);
	mf->lock = how->lock;
	inode->n_shared += !wants_overlay;
	inode->n_overlay += wants_overlay;
	return 0;
}

static int fs_open(struct file_opener *opener, const struct file_open *how, struct file **out,
		   struct err *err)
{
	struct mem_fs *fs = (struct mem_fs *)opener;
	struct mem_name *entry = fs_find(fs, how->name);

	fs->n_opens++;
	if (!entry)
		return err_set(err, -ENOENT, "'%s' does not exist", how->name);
	if (how->policy &&
	    !path_policy_allows(how->policy, entry->real_name, entry->inode->is_block))
		return err_set(err, -EPERM, "'%s' is not allowed", entry->real_name);

	struct mem_file *mf = file_on(entry->inode, how->name, entry->real_name, how->write);
	if (!entry->inode->is_block)
		file_judge_holes(&mf->file, how->holes, true, entry->inode->is_hole);
	int rc = fs_lock(fs, mf, how, err);
	if (rc < 0) {
		file_close(&mf->file);
		return rc;
	}
	*out = &mf->file;
	return 0;
}

static int fs_create(struct file_opener *opener, const char *name, struct file **out,
		     struct err *err)
{
	struct mem_fs *fs = (struct mem_fs *)opener;

	if (fs_find(fs, name))
		return err_set(err, -EEXIST, "'%s' exists", name);
	mem_fs_add(fs, name, 0);
	return fs_open(opener, &(struct file_open){ .name = name, .write = true }, out, err);
}

void mem_fs_init(struct mem_fs *fs)
{
	*fs = (struct mem_fs){
		.opener = { .open = fs_open, .create = fs_create },
		.next_ino = 100,
	};
}

void mem_fs_link(struct mem_fs *fs, const char *name, const char *real_name,
		 struct mem_inode *inode)
{
	struct mem_name *entry = xrealloc(NULL, sizeof(*entry));
	char *real = NULL;

	if (real_name || name[0] == '/')
		real = xstrdup(real_name ? real_name : name);
	else if (asprintf(&real, "/mem/%s", name) < 0)
		abort();
	*entry = (struct mem_name){
		.name = xstrdup(name), .real_name = real, .inode = inode, .next = fs->names
	};
	fs->names = entry;
}

struct mem_inode *mem_fs_add(struct mem_fs *fs, const char *name, uint64_t len)
{
	struct mem_inode *inode = inode_new(fs->next_ino++, len);

	mem_fs_link(fs, name, NULL, inode);
	return inode;
}

void mem_fs_destroy(struct mem_fs *fs)
{
	while (fs->names) {
		struct mem_name *entry = fs->names;
		bool shared = false;

		fs->names = entry->next;
		for (struct mem_name *other = fs->names; other; other = other->next)
			shared |= other->inode == entry->inode;
		assert(!entry->inode->n_open);
		if (!shared)
			inode_free(entry->inode);
		free(entry->name);
		free(entry->real_name);
		free(entry);
	}
}
