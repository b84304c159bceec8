/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Opening files of the simulated machine, and the blocking calls on them. They
 * pass the same gate as the requests of the backend, so that "fail the third
 * write" means any third write. A failed or stopped call changes what a real
 * one might have changed: some of the sectors.
 */
#include <assert.h>
#include <errno.h>

#include "io/file/file_holes.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"
#include "io/source/source.h"
#include "tests/machine/files/sim_private.h"

/* What passes is tried again, as io/posix/file.c does. */
static int sim_blocking_begin(struct sim *sim, enum sim_op op, const struct sim_file *file)
{
	int error = sim_op_begin(sim, op, file);

	if (error != -EINTR && error != -EAGAIN)
		return error;
	return sim->hit->persists ? -EIO : 0;
}

static ssize_t sim_handle_read(struct file *file, void *buf, size_t len, uint64_t off)
{
	struct sim_handle *h = (struct sim_handle *)file;
	ssize_t ret = sim_blocking_begin(h->sim, SIM_READ, h->data);
	if (!ret) {
		uint64_t end = h->data->live.len;
		size_t n = off < end ? (size_t)MIN((uint64_t)len, end - off) : 0;
		sim_store_read(&h->data->live, buf, n, off);
		ret = (ssize_t)n;
	}
	sim_op_trace(h->sim, SIM_READ, off, len, ret);
	return ret;
}

static int sim_handle_write(struct file *file, const void *buf, size_t len, uint64_t off)
{
	struct sim_handle *h = (struct sim_handle *)file;
	bool was_off = sim_is_stopped(h->sim);
	int ret = sim_blocking_begin(h->sim, SIM_WRITE, h->data);
	if (!ret && h->data->limit && off + len > h->data->limit)
		ret = -ENOSPC;
	if (!was_off) {
		struct sim_write *write = sim_log_fly(h->sim, h->data, len, off);
		memcpy(write->bytes, buf, len);
		if (ret == -ENOSPC)
			write->len = off < h->data->limit ? MIN(len, h->data->limit - off) : 0;
		if (ret && ret != SIM_STOPPED)
			sim_tear(&h->data->live, write, &h->sim->rng);
		if (!ret)
			sim_store_write(&h->data->live, buf, len, off);
		/* The one the power cut caught stays in flight: its fate is open. */
		if (ret != SIM_STOPPED)
			sim_log_land(h->sim, h->data, write, ret != 0);
	}
	sim_op_trace(h->sim, SIM_WRITE, off, len, ret);
	return ret;
}

/* To a reader, and to a power cut, a clone is a write of the same bytes. */
static int sim_handle_clone(struct file *to, struct file *from, uint64_t from_off, uint64_t off,
			    uint64_t len)
{
	struct sim_handle *h = (struct sim_handle *)from;
	uint8_t *bytes;
	int ret;

	if (!h->sim->knobs.clones || h->data->refuses_clones)
		return -EXDEV;
	if (from_off + len > h->data->live.len)
		return -EINVAL;
	bytes = sim_need(malloc(len));
	sim_store_read(&h->data->live, bytes, len, from_off);
	ret = sim_handle_write(to, bytes, len, off);
	free(bytes);
	return ret;
}

static int sim_handle_sync(struct file *file)
{
	struct sim_handle *h = (struct sim_handle *)file;
	uint64_t stamp = ++h->sim->event;
	int ret = sim_blocking_begin(h->sim, SIM_SYNC, h->data);
	if (ret != SIM_STOPPED)
		sim_log_sync(h->data, stamp, ret != 0);
	sim_op_trace(h->sim, SIM_SYNC, 0, 0, ret);
	return ret;
}

static int sim_handle_truncate(struct file *file, uint64_t len)
{
	struct sim_handle *h = (struct sim_handle *)file;
	int ret = sim_blocking_begin(h->sim, SIM_TRUNCATE, h->data);
	if (!ret && h->data->limit && len > h->data->limit)
		ret = -ENOSPC;
	if (!ret) {
		struct sim_write *write = sim_log_fly(h->sim, h->data, 0, len);
		write->is_truncate = true;
		sim_store_truncate(&h->data->live, len);
		sim_log_land(h->sim, h->data, write, false);
	}
	sim_op_trace(h->sim, SIM_TRUNCATE, len, 0, ret);
	return ret;
}

static int sim_handle_status(struct file *file, uint64_t off, struct file_status *out)
{
	struct sim_handle *h = (struct sim_handle *)file;
	*out = (struct file_status){ .len = file->len - off };
	/* Not an operation: a machine that answers it keeps its inodes in memory. */
	if (off < h->data->live.len)
		out->len = sim_store_status(&h->data->live, off, &out->is_hole);
	if (off >= h->data->lie_off)
		*out = (struct file_status){ .len = file->len - off, .is_hole = true };
	else
		out->len = MIN(out->len, h->data->lie_off - off);
	return 0;
}

/* Between the writes that have completed, in their order, and lost or kept by a power cut as they
 * are. */
static void sim_handle_discard(struct file *file, uint64_t off, uint64_t len)
{
	struct sim_handle *h = (struct sim_handle *)file;
	int ret = h->sim->knobs.no_discard ? -EOPNOTSUPP : 0;

	if (!ret)
		ret = sim_op_begin(h->sim, SIM_DISCARD, h->data);
	if (!ret && sim_chance(h->sim, h->sim->knobs.discard_fails_permille))
		ret = -EIO;
	if (!ret) {
		struct sim_write *write = sim_log_fly(h->sim, h->data, 0, off);
		write->is_punch = true;
		write->len = len;
		sim_store_punch(&h->data->live, off, len);
		sim_log_land(h->sim, h->data, write, false);
	}
	sim_op_trace(h->sim, SIM_DISCARD, off, len, ret);
}

static enum file_state sim_handle_look(struct file *file)
{
	struct sim_handle *h = (struct sim_handle *)file;

	if (h->sim->knobs.unsure_permille && sim_chance(h->sim, h->sim->knobs.unsure_permille))
		return FILE_UNSURE;
	return file->len != h->data->live.len || file->mtime_ns != h->data->mtime_ns ? FILE_CHANGED
										     : FILE_SAME;
}

static bool sim_is_locked(const struct sim_file *file, enum file_lock lock)
{
	if (lock == FILE_LOCK_NONE)
		return false;
	return file->n_open[FILE_LOCK_OVERLAY] ||
	       (lock == FILE_LOCK_OVERLAY && file->n_open[FILE_LOCK_SHARED]);
}

static int sim_handle_turn_begin(struct file *file, bool write, struct err *err)
{
	struct sim_handle *h = (struct sim_handle *)file;
	enum file_lock to = write ? FILE_LOCK_OVERLAY : FILE_LOCK_SHARED;

	h->data->n_open[h->lock]--;
	if (write && sim_is_locked(h->data, to)) {
		h->data->n_open[h->lock]++;
		return err_set(err, -EBUSY, "'%s' is in use", file->name);
	}
	h->data->n_open[to]++;
	h->lock = to;
	h->is_turned = true;
	return 0;
}

static void sim_handle_turn_end(struct file *file, bool write)
{
	struct sim_handle *h = (struct sim_handle *)file;

	if (!h->is_turned)
		return;
	h->is_turned = false;
	file->len = h->data->live.len;
	file->mtime_ns = h->data->mtime_ns;
	file->writable = write;
}

static void sim_handle_close(struct file *file)
{
	struct sim_handle *h = (struct sim_handle *)file;
	assert(h->data->n_open[h->lock]);
	h->data->n_open[h->lock]--;
	free(file->name);
	free(file->real_name);
	free(h);
}

static const struct file_ops sim_handle_ops = {
	.read_at = sim_handle_read,
	.write_at = sim_handle_write,
	.clone = sim_handle_clone,
	.sync = sim_handle_sync,
	.truncate = sim_handle_truncate,
	.status = sim_handle_status,
	.discard = sim_handle_discard,
	.look = sim_handle_look,
	.turn_begin = sim_handle_turn_begin,
	.turn_end = sim_handle_turn_end,
	.close = sim_handle_close,
};

static struct file *sim_handle_new(struct sim *sim, struct sim_file *data,
				   const struct file_open *how)
{
	struct sim_handle *h = sim_need(calloc(1, sizeof(*h)));
	h->sim = sim;
	h->data = data;
	h->lock = how->lock;
	data->n_open[how->lock]++;
	h->file = (struct file){
		.ops = &sim_handle_ops,
		.name = sim_need(strdup(how->name)),
		.real_name = sim_need(strdup(data->name)),
		.len = data->live.len,
		.writable = how->write,
		.may_clone = sim->knobs.may_clone,
		.io_align = sim->knobs.io_align,
		.dev = 0x51,
		.ino = data->ino,
		.mtime_ns = data->mtime_ns,
		.fd = -1,
		.slot = -1,
	};
	if (sim->knobs.past_cache && how->past_cache && h->file.io_align <= 1)
		h->file.past_cache.align = SIM_PAST_ALIGN;
	file_judge_holes(&h->file, sim->knobs.no_holes ? FILE_HOLES_READ : how->holes,
			 !sim->knobs.holes_unknown, true);
	return &h->file;
}

static int sim_opener_open(struct file_opener *opener, const struct file_open *how,
			   struct file **out, struct err *err)
{
	struct sim *sim = (struct sim *)((char *)opener - offsetof(struct sim, opener));
	struct sim_file *data = sim_file_find(sim, how->name);
	char name[256];

	if (how->source)
		return source_open(how->source, how->name, how->holes != FILE_HOLES_READ, out, err);
	err_escape(how->name, strlen(how->name), name, sizeof(name));
	int ret = sim_op_begin(sim, SIM_OPEN, data);
	sim_op_trace(sim, SIM_OPEN, 0, 0, ret);
	if (ret)
		return err_errno(err, ret, "cannot open '%s'", name);
	if (!data)
		return err_set(err, -ENOENT, "'%s' does not exist", name);
	if (how->policy && !path_policy_allows(how->policy, data->name, false))
		return err_set(err, -EPERM, "'%s' may not be opened (--allow-backing)", name);
	if (sim_is_locked(data, how->lock))
		return err_set(err, -EBUSY, "'%s' is in use", name);
	*out = sim_handle_new(sim, data, how);
	return 0;
}

struct file *sim_handle_create(struct sim *sim, const char *name)
{
	struct file_open how = { .name = name, .write = true };

	return sim_handle_new(sim, sim_file_add(sim, name), &how);
}

static int sim_opener_create(struct file_opener *opener, const char *name, struct file **out,
			     struct err *err)
{
	struct sim *sim = (struct sim *)((char *)opener - offsetof(struct sim, opener));
	int rc = sim_op_begin(sim, SIM_OPEN, NULL);

	if (!rc && sim_file_exists(sim, name))
		rc = -EEXIST;
	sim_op_trace(sim, SIM_OPEN, 1, 0, rc);
	if (rc)
		return err_errno(err, rc, "cannot create '%s'", name);
	*out = sim_handle_create(sim, name);
	return 0;
}

void sim_opener_init(struct sim *sim)
{
	sim->opener = (struct file_opener){
		.open = sim_opener_open,
		.create = sim_opener_create,
		.open_dir = sim_dir_open,
	};
}
