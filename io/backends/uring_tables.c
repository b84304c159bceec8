/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is registered with the ring. Every step may be refused (RLIMIT_MEMLOCK,
 * RLIMIT_NOFILE, a filter), and then requests simply name the descriptor and
 * the address. file->slot may be an index into another ring's table, so a slot
 * counts only if it holds this very file.
 */
#include "io/backends/uring_tables.h"

/* The kernel's bound for one registered buffer. */
#define URING_MAX_MEM (1 * GiB)

void uring_tables_init(struct uring *u)
{
	if (!io_uring_register_files_sparse(&u->ring, URING_MAX_FILES))
		u->table.n_slots = URING_MAX_FILES;
}

/* Waits for the kernel to let go of the files, which closing the ring alone would not. */
void uring_tables_free(struct uring *u)
{
	if (u->table.n_slots)
		io_uring_unregister_files(&u->ring);
	u->table.n_slots = 0;
	uring_tables_use_memory(&u->io, NULL, 0);
}

bool uring_tables_holds(const struct uring *u, const void *buf, size_t len)
{
	uintptr_t base = (uintptr_t)u->mem.base, at = (uintptr_t)buf;
	return base && at >= base && at - base <= u->mem.len && len <= u->mem.len - (at - base);
}

int uring_tables_slot(const struct uring *u, const struct file *file)
{
	bool ours = file->slot >= 0 && (unsigned)file->slot < u->table.n_slots &&
		    u->table.slots[file->slot] == file;
	return ours ? file->slot : -1;
}

void uring_tables_use_memory(struct io *io, void *base, size_t len)
{
	struct uring *u = (struct uring *)io;
	struct iovec iov = { .iov_base = base, .iov_len = MIN(len, (size_t)URING_MAX_MEM) };

	if (u->mem.base)
		io_uring_unregister_buffers(&u->ring);
	u->mem.base = NULL;
	u->mem.len = 0;
	if (!base || !len || io_uring_register_buffers(&u->ring, &iov, 1))
		return;
	u->mem.base = base;
	u->mem.len = iov.iov_len;
}

void uring_tables_add_file(struct io *io, struct file *file)
{
	struct uring *u = (struct uring *)io;

	if (uring_tables_slot(u, file) >= 0) /* it has another description: file_turn() */
		io_uring_register_files_update(&u->ring, (unsigned)file->slot, &file->fd, 1);
	if (file->slot >= 0 || file->fd < 0)
		return;
	for (unsigned i = 0; i < u->table.n_slots; i++) {
		if (u->table.slots[i])
			continue;
		if (io_uring_register_files_update(&u->ring, i, &file->fd, 1) != 1)
			return;
		u->table.slots[i] = file;
		file->slot = (int)i;
		return;
	}
}

void uring_tables_forget_file(struct io *io, struct file *file)
{
	struct uring *u = (struct uring *)io;
	int slot = uring_tables_slot(u, file), none = -1;

	if (slot < 0)
		return;
	io_uring_register_files_update(&u->ring, (unsigned)slot, &none, 1);
	u->table.slots[slot] = NULL;
	file->slot = -1;
}
