/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files of the simulated machine: how they are put there, opened and used by
 * the blocking calls, and the log of writes whose fate a power cut would
 * decide. The live contents are one store, the durable ones another; the log
 * between them is the whole crash model.
 *
 * Keeping only the log and replaying it for every read was rejected: reads
 * outnumber cuts by far.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/machine/files/sim_private.h"

/* Absolute and without ".", ".." or doubled slashes; the simulator has no symlinks. */
static char *sim_path(const char *name)
{
	char *out = sim_need(calloc(1, strlen(name) + 2));
	size_t used = 0;

	while (*name) {
		size_t n = strcspn(name, "/");
		if (n == 2 && !strncmp(name, "..", 2)) {
			while (used && out[--used] != '/')
				;
		} else if (n && !(n == 1 && name[0] == '.')) {
			out[used++] = '/';
			memcpy(out + used, name, n);
			used += n;
		}
		name += n;
		name += *name == '/';
	}
	out[used] = '\0';
	return out;
}

struct sim_file *sim_file_find(const struct sim *sim, const char *name)
{
	autofree char *path = sim_path(name);
	for (struct sim_file *file = sim->files; file; file = file->next)
		if (!file->is_removed && !strcmp(file->name, path))
			return file;
	return NULL;
}

static struct sim_file *sim_file_must(const struct sim *sim, const char *name)
{
	struct sim_file *file = sim_file_find(sim, name);
	if (!file) {
		fprintf(stderr, "sim: no file '%s'\n", name);
		abort();
	}
	return file;
}

struct sim_file *sim_file_add(struct sim *sim, const char *name)
{
	struct sim_file *file = sim_need(calloc(1, sizeof(*file)));
	file->name = sim_path(name);
	file->ino = ++sim->n_files;
	file->lie_off = UINT64_MAX;
	file->log_end = &file->log;
	struct sim_file **end = &sim->files;
	while (*end)
		end = &(*end)->next;
	*end = file;
	return file;
}

static void sim_log_clear(struct sim_write *write)
{
	while (write) {
		struct sim_write *next = write->next;
		free(write);
		write = next;
	}
}

void sim_file_free(struct sim_file *file)
{
	for (size_t i = 0; i < ARRAY_LEN(file->n_open); i++)
		assert(!file->n_open[i]);
	sim_store_clear(&file->live);
	sim_store_clear(&file->durable);
	sim_log_clear(file->log);
	sim_log_clear(file->flying);
	sim_names_clear(file);
	free(file->name);
	free(file);
}

struct sim_write *sim_log_fly(struct sim *sim, struct sim_file *file, uint64_t len, uint64_t off)
{
	struct sim_write *write = sim_need(calloc(1, sizeof(*write) + len));
	write->off = off;
	write->len = len;
	write->seq = ++sim->event;
	if (file->flying)
		file->flying_end->next = write;
	else
		file->flying = write;
	file->flying_end = write;
	return write;
}

void sim_log_land(struct sim *sim, struct sim_file *file, struct sim_write *write, bool failed)
{
	struct sim_write **at = &file->flying, *before = NULL;
	while (*at != write) {
		before = *at;
		at = &(*at)->next;
	}
	*at = write->next;
	if (file->flying_end == write)
		file->flying_end = before;
	write->next = NULL;
	write->done = ++sim->event;
	write->doomed = failed;
	*file->log_end = write;
	file->log_end = &write->next;
	file->mtime_ns = (int64_t)sim->now_ns;
}

void sim_log_apply(struct sim_store *store, const struct sim_write *write)
{
	if (write->is_truncate)
		sim_store_truncate(store, write->off);
	else if (write->is_punch)
		sim_store_punch(store, write->off, write->len);
	else
		sim_store_write(store, write->bytes, write->len, write->off);
}

void sim_log_sync(struct sim_file *file, uint64_t stamp, bool failed)
{
	for (struct sim_write *write = file->log; write; write = write->next) {
		if (write->done >= stamp || write->durable)
			continue;
		if (failed)
			write->doomed = true;
		else if (!write->doomed)
			write->durable = true;
	}
	/* Behind a doomed write the durable ones stay: a cut must apply them in order. */
	while (file->log && file->log->durable) {
		struct sim_write *write = file->log;
		sim_log_apply(&file->durable, write);
		file->log = write->next;
		free(write);
	}
	if (!file->log)
		file->log_end = &file->log;
}

void sim_file_put(struct sim *sim, const char *name, const void *bytes, uint64_t len)
{
	sim_file_put_hole(sim, name, len);
	sim_file_poke(sim, name, bytes, len, 0);
}

void sim_file_put_hole(struct sim *sim, const char *name, uint64_t len)
{
	struct sim_file *file = sim_file_find(sim, name);

	if (file)
		sim_file_remove(sim, name);
	file = sim_file_add(sim, name);
	file->live.len = file->durable.len = len;
}

void sim_file_poke(struct sim *sim, const char *name, const void *bytes, size_t len, uint64_t off)
{
	struct sim_file *file = sim_file_must(sim, name);
	assert(!file->flying);
	sim_store_write(&file->live, bytes, len, off);
	sim_store_write(&file->durable, bytes, len, off);
}

void sim_file_limit(struct sim *sim, const char *name, uint64_t max_len)
{
	sim_file_must(sim, name)->limit = max_len;
}

void sim_file_lie(struct sim *sim, const char *name, uint64_t lie_off)
{
	sim_file_must(sim, name)->lie_off = lie_off;
}

void sim_file_refuse_clones(struct sim *sim, const char *name)
{
	sim_file_must(sim, name)->refuses_clones = true;
}

/* It was changed by others: no later than now, and not when it was. */
static void sim_file_touched(struct sim *sim, struct sim_file *file)
{
	file->mtime_ns = MAX((int64_t)sim->now_ns, file->mtime_ns + 1);
}

void sim_file_overwrite(struct sim *sim, const char *name, const void *bytes, size_t len,
			uint64_t off)
{
	sim_file_poke(sim, name, bytes, len, off);
	sim_file_touched(sim, sim_file_must(sim, name));
}

void sim_file_cut(struct sim *sim, const char *name, uint64_t len)
{
	struct sim_file *file = sim_file_must(sim, name);

	sim_store_truncate(&file->live, len);
	sim_store_truncate(&file->durable, len);
	sim_file_touched(sim, file);
}

void sim_file_remove(struct sim *sim, const char *name)
{
	struct sim_file *file = sim_file_must(sim, name);

	sim_names_clear(file);
	file->is_removed = true;
}

void sim_file_rename(struct sim *sim, const char *from, const char *to)
{
	struct sim_file *file = sim_file_must(sim, from), *old = sim_file_find(sim, to);

	if (old)
		sim_file_remove(sim, to);
	sim_names_clear(file);
	free(file->name);
	file->name = sim_path(to);
}

bool sim_file_is_open(const struct sim *sim, const char *name)
{
	const struct sim_file *file = sim_file_must(sim, name);

	for (size_t i = 0; i < ARRAY_LEN(file->n_open); i++)
		if (file->n_open[i])
			return true;
	return false;
}

bool sim_file_is_written(const struct sim *sim, const char *name, uint64_t off, uint64_t len)
{
	const struct sim_write *write = sim_file_must(sim, name)->flying;

	for (; write; write = write->next)
		if (write->off < off + len && off < write->off + write->len)
			return true;
	return false;
}

bool sim_file_exists(const struct sim *sim, const char *name)
{
	return sim_file_find(sim, name);
}

uint64_t sim_file_len(const struct sim *sim, const char *name)
{
	return sim_file_must(sim, name)->live.len;
}

void sim_file_peek(const struct sim *sim, const char *name, void *buf, size_t len, uint64_t off)
{
	sim_store_read(&sim_file_must(sim, name)->live, buf, len, off);
}

/* The pages of [off, end) that the host holds. */
static int sim_host_copy(struct sim_store *store, int fd, uint64_t off, uint64_t end)
{
	uint8_t page[SIM_PAGE_LEN];
	off = round_down(off, SIM_PAGE_LEN);
	while (off < end) {
		ssize_t n = pread(fd, page, MIN(end - off, (uint64_t)SIM_PAGE_LEN), (off_t)off);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		sim_store_write(store, page, (size_t)n, off);
		off += (uint64_t)n;
	}
	return 0;
}

int sim_file_from_host(struct sim *sim, const char *name, const char *path)
{
	struct stat st;
	int ret = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return ret;
	}
	sim_file_put_hole(sim, name, (uint64_t)st.st_size);
	struct sim_file *file = sim_file_must(sim, name);
	for (off_t at = 0, hole; !ret && (at = lseek(fd, at, SEEK_DATA)) >= 0; at = hole) {
		hole = lseek(fd, at, SEEK_HOLE);
		if (hole <= at)
			break;
		ret = sim_host_copy(&file->live, fd, (uint64_t)at, (uint64_t)hole);
	}
	close(fd);
	sim_store_clear(&file->durable);
	sim_store_clone(&file->durable, &file->live);
	return ret;
}

int sim_file_to_host(struct sim *sim, const char *name, const char *path)
{
	const struct sim_store *store = &sim_file_must(sim, name)->live;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	int ret = ftruncate(fd, (off_t)store->len) ? -errno : 0;
	for (size_t i = 0; !ret && i < store->n_slots; i++) {
		uint64_t off = store->slots[i].idx * SIM_PAGE_LEN;
		size_t n = (size_t)MIN(store->len - off, (uint64_t)SIM_PAGE_LEN);
		ssize_t put = pwrite(fd, store->slots[i].page->bytes, n, (off_t)off);
		if (put != (ssize_t)n)
			ret = put < 0 ? -errno : -EIO;
	}
	close(fd);
	return ret;
}
