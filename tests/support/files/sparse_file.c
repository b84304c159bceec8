/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See sparse_file.h. Pages hang in a hash table of fixed size: a test writes
 * some thousands of them, wherever they are.
 */
#include "tests/support/files/sparse_file.h"

#include <assert.h>

#include "io/base.h"

#define PAGE_LEN  4096u
#define N_BUCKETS 8192u

struct page {
	struct page *next;
	uint64_t idx;
	uint8_t bytes[PAGE_LEN];
};

struct sparse_file {
	struct file file; /* first */
	uint64_t n_pages, written;
	struct page *buckets[N_BUCKETS];
};

static struct sparse_file *sparse_of(const struct file *file)
{
	return (struct sparse_file *)file;
}

static struct page **find_page(struct sparse_file *sf, uint64_t idx)
{
	struct page **link = &sf->buckets[(idx * UINT64_C(0x9e3779b97f4a7c15)) >> 51];

	while (*link && (*link)->idx != idx)
		link = &(*link)->next;
	return link;
}

static ssize_t sparse_read_at(struct file *file, void *buf, size_t len, uint64_t off)
{
	if (off >= file->len)
		return 0;
	len = MIN((uint64_t)len, file->len - off);
	for (size_t done = 0, n; done < len; done += n) {
		struct page *page = *find_page(sparse_of(file), (off + done) / PAGE_LEN);
		size_t in_page = (off + done) % PAGE_LEN;

		n = MIN(len - done, PAGE_LEN - in_page);
		if (page)
			memcpy((char *)buf + done, page->bytes + in_page, n);
		else
			memset((char *)buf + done, 0, n);
	}
	return (ssize_t)len;
}

static int sparse_write_at(struct file *file, const void *buf, size_t len, uint64_t off)
{
	struct sparse_file *sf = sparse_of(file);

	for (size_t done = 0, n; done < len; done += n) {
		struct page **link = find_page(sf, (off + done) / PAGE_LEN);
		size_t in_page = (off + done) % PAGE_LEN;

		if (!*link) {
			*link = calloc(1, sizeof(**link));
			assert(*link);
			(*link)->idx = (off + done) / PAGE_LEN;
			sf->n_pages++;
		}
		n = MIN(len - done, PAGE_LEN - in_page);
		memcpy((*link)->bytes + in_page, (const char *)buf + done, n);
	}
	sf->written += len;
	return 0;
}

static int sparse_sync(struct file *file)
{
	return 0;
}

static int sparse_truncate(struct file *file, uint64_t len)
{
	assert(len >= file->len); /* no caller shrinks an image */
	return 0;
}

static int sparse_status(struct file *file, uint64_t off, struct file_status *out)
{
	bool is_hole = !*find_page(sparse_of(file), off / PAGE_LEN);
	uint64_t left = file->len - off;

	/* Where nothing is written for long, an answer may be short but must not be slow. */
	out->is_hole = is_hole;
	out->len = PAGE_LEN - off % PAGE_LEN;
	while (out->len < MIN(left, 8 * MiB) &&
	       !*find_page(sparse_of(file), (off + out->len) / PAGE_LEN) == is_hole)
		out->len += PAGE_LEN;
	return 0;
}

static void sparse_close(struct file *file)
{
	struct sparse_file *sf = sparse_of(file);

	for (size_t i = 0; i < N_BUCKETS; i++)
		while (sf->buckets[i]) {
			struct page *page = sf->buckets[i];

			sf->buckets[i] = page->next;
			free(page);
		}
	free(file->name);
	free(file->real_name);
	free(sf);
}

static const struct file_ops sparse_file_ops = {
	.read_at = sparse_read_at,
	.write_at = sparse_write_at,
	.sync = sparse_sync,
	.truncate = sparse_truncate,
	.status = sparse_status,
	.close = sparse_close,
};

struct file *sparse_file_new(const char *name, uint64_t len)
{
	struct sparse_file *sf = calloc(1, sizeof(*sf));

	assert(sf);
	sf->file = (struct file){
		.ops = &sparse_file_ops,
		.name = strdup(name),
		.real_name = strdup(name),
		.len = len,
		.writable = true,
		.trust_holes = true,
		.holes_known = true,
		.io_align = 1,
		.fd = -1,
		.slot = -1,
	};
	assert(sf->file.name && sf->file.real_name);
	return &sf->file;
}

uint64_t sparse_file_used(const struct file *file)
{
	return sparse_of(file)->n_pages * PAGE_LEN;
}

uint64_t sparse_file_written(const struct file *file)
{
	return sparse_of(file)->written;
}
