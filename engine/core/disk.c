/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every room may ask of an open disk, or must tell it: whether guests are at work, that
 * something was written (I1), how much of a cluster a data file takes, and which files the backend
 * knows.
 */
#include "engine/core/disk.h"

#include "engine/core/clock.h"
#include "engine/core/flatten.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"
#include "io/file/new_file.h"
#include "io/io.h"

/* For so long after its last request a guest counts as active: between two requests it is not
 * idle. */
#define GUEST_HOLD_NS UINT64_C(10000000)

/* A guest that has wanted bytes of a source may want more. */
#define SOURCE_HOLD_NS UINT64_C(1000000000)

void disk_note_file_opened(void *opaque, struct file *file)
{
	const struct bpull_disk *disk = opaque;
	struct io *io = disk->engine->io;

	if (io->ops->add_file)
		io->ops->add_file(io, file);
}

void disk_note_file_closing(void *opaque, struct file *file)
{
	struct bpull_engine *engine = opaque;

	if (engine->io->ops->forget_file)
		engine->io->ops->forget_file(engine->io, file);
}

bool flatten_is_over(const struct bpull_disk *disk)
{
	return disk->flatten && !new_file_temp_path(disk->flatten->file);
}

bool guest_is_idle(const struct bpull_disk *disk)
{
	return !disk->guests.first && !disk->guests.runs_on_read.n;
}

bool engine_guest_is_active(const struct bpull_engine *engine)
{
	return engine->guests.n || engine->guests.n_over != engine->guests.n_seen ||
	       (engine->guests.last_ns && engine_now_ns() - engine->guests.last_ns < GUEST_HOLD_NS);
}

bool engine_guest_needs_sources(const struct bpull_engine *engine)
{
	return engine->guests.source_ns &&
	       engine_now_ns() - engine->guests.source_ns < SOURCE_HOLD_NS;
}

void disk_wrote(struct bpull_disk *disk, enum disk_part part)
{
	if (part == DISK_DATA && disk_has_data_file(disk))
		disk->commits.data_undurable = true;
	else
		disk->commits.undurable = true;
}

void disk_began_writing(struct bpull_disk *disk)
{
	disk_wrote(disk, DISK_IMAGE);
	disk_wrote(disk, DISK_DATA);
}

void disk_end_exclusive(struct bpull_disk *disk)
{
	disk->exclusive = false;
	op_wake_all(&disk->guests.prepare_waiters, 0, NULL, 0, false);
}

uint64_t disk_write_len(const struct bpull_disk *disk, uint64_t host_off, uint64_t len)
{
	const struct layer *overlay = disk_overlay(disk);
	uint64_t end = MAX(overlay->guest_len, overlay->data->len);

	if (!disk_has_data_file(disk))
		return len;
	return host_off < end ? MIN(len, end - host_off) : 0;
}

const char *disk_show(const struct bpull_disk *disk, struct shown *shown)
{
	return file_show(disk_overlay(disk)->file, shown);
}

void disk_leave_engine(struct bpull_disk *disk)
{
	struct bpull_disk **link = &disk->engine->disks;

	while (*link != disk)
		link = &(*link)->next;
	*link = disk->next;
}
