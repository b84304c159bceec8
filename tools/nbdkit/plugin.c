/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * nbdkit-blockpull-plugin: an image as a network block device, for any NBD
 * client, while its backing chain is pulled in beneath.
 *
 *   nbdkit blockpull image=overlay.qcow2 pull=true bandwidth=50M
 *
 * The engine runs by its own thread; nbdkit's threads make blocking calls, any
 * number at once. All clients see one disk, so a flush by one covers what all
 * have written (multi_conn). The job goes on when clients leave, and what is not
 * durable becomes so when nbdkit ends. Serving NBD ourselves was rejected: TLS,
 * sockets, filters and the protocol's corners are nbdkit's trade.
 */
#define NBDKIT_API_VERSION 2
#define THREAD_MODEL       NBDKIT_THREAD_MODEL_PARALLEL

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#include "engine/blockpull.h"
#include "tools/control/control.h"
#include "tools/nbdkit/config.h"
#include "tools/nbdkit/start.h"

#define MAX_EXTENTS 64
#define LOOK_MS     200

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static int can_discard; /* the format can say that a cluster reads zeros */
static pthread_t monitor;
static int quit_fd = -1;
static struct control *control;
static struct control_target target;

#define plugin_config_help                                                                   \
	"image=FILE            the image (required)\n"                                       \
	"readonly=true         serve it read only, as nbdkit's -r does\n"                    \
	"pull=true             pull its backing chain into it while it is served\n"          \
	"bandwidth=RATE        at most RATE bytes a second (50M; default: no limit)\n"       \
	"base=FILE             pull what is above FILE only, which stays its backing file\n" \
	"copy-on-read=true     keep what clients read from the chain\n"                      \
	"manual-finalize=true  keep the link to the backing file until told otherwise\n"     \
	"accept-mixed=true     pull an image marked because a backing file had changed\n"    \
	"verify=true           read back what was copied before the link goes\n"             \
	"control=SOCKET        steer the pull through a socket: see blockpull ctl\n"         \
	"on-error=WHAT         report, stop or enospc: what an I/O error does to the pull\n" \
	"format=FMT            qcow2, qed or raw (a raw disk must be named so)\n"            \
	"backing-format=FMT    of backing files for which none is recorded; 'auto': by\n"    \
	"                      probing; FILE=FMT: of one of them; may be repeated\n"         \
	"allow-backing=DIR     backing files may lie below DIR, too; 'any', 'none'\n"        \
	"holes=MODE            auto, read or trust: which holes of raw files are left out\n" \
	"io=MODE               auto, uring or threads\n"                                     \
	"memory=SIZE           for buffers and tables (default 48M)"

/* ---- life ---- */

static const char *job_word(enum bpull_job_status status)
{
	switch (status) {
	case BPULL_JOB_COMPLETED: return "completed: the image stands alone";
	case BPULL_JOB_FAILED: return "failed";
	case BPULL_JOB_CANCELED: return "canceled";
	case BPULL_JOB_READY: return "ready to drop the link";
	}
	return "changed";
}

static void tell(const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_JOB_STOPPED)
		nbdkit_error("pull stopped: %s", event->message);
	else if (event->type == BPULL_EVENT_JOB && event->status == BPULL_JOB_FAILED)
		nbdkit_error("pull failed: %s", event->message);
	else if (event->type == BPULL_EVENT_JOB)
		nbdkit_debug("pull %s", job_word(event->status));
}

/* Takes the job's events until it is told to quit. */
static void *watch_job(void *opaque)
{
	struct pollfd fds[2 + CONTROL_MAX_FDS] = { { .fd = bpull_engine_fd(engine),
						     .events = POLLIN },
						   { .fd = quit_fd, .events = POLLIN } };

	(void)opaque;
	while (!fds[1].revents) {
		struct bpull_event events[4];
		int n = bpull_engine_process(engine, events, 4), n_fds = 2;

		for (int i = 0; i < n; i++) {
			if (control)
				control_event(control, &events[i]);
			tell(&events[i]);
		}
		if (n > 0)
			continue;
		if (control)
			n_fds += control_poll_fds(control, fds + 2);
		/* States that are no events (paused, committing) are looked for while a client
		 * listens. */
		poll(fds, n_fds, n_fds > 3 ? LOOK_MS : -1);
		if (control)
			control_process(control);
	}
	return NULL;
}

/* Adds to the sentence what the plugin's parameters have for it. */
static void advise(struct bpull_error *error)
{
	static const char *const advice[] = {
		[BPULL_REMEDY_ALLOW_BACKING] = ": allow-backing=NAME",
		[BPULL_REMEDY_READ_HOLES] = ": holes=read",
		[BPULL_REMEDY_ACCEPT_MIXED] = ": accept-mixed=true",
		[BPULL_REMEDY_REPAIR] = ": blockpull check --repair=all",
		[BPULL_REMEDY_BACKING_FORMAT] = ": backing-format=FMT, or FILE=FMT",
		[BPULL_REMEDY_TRUST_BACKING] = ": backing-format=FILE=FMT, or backing-format=auto",
	};
	const char *text =
		error->remedy < sizeof(advice) / sizeof(advice[0]) ? advice[error->remedy] : NULL;
	size_t used = strlen(error->message);

	if (text)
		snprintf(error->message + used, sizeof(error->message) - used, "%s", text);
}

static void complain(struct bpull_error *error)
{
	advise(error);
	nbdkit_error("%s", error->message);
}

/* What can be discarded depends on the format, which only the image says. */
static int ask_format(void)
{
	struct bpull_disk_options o = plugin_config.disk;
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	struct bpull_error error;

	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING | BPULL_DISK_FORCE_SHARE;
	o.n_backing_formats = 0; /* of files that are not opened here */
	if (bpull_info_open(plugin_config.image, &o, &info, &error)) {
		complain(&error);
		return -1;
	}
	bpull_info_layer(info, 0, &layer);
	if (layer.format == BPULL_FORMAT_RAW && plugin_config.disk.format != BPULL_FORMAT_RAW) {
		nbdkit_error(
			"%s looks raw, but a guest may have made it look so; say format=raw to "
			"serve it",
			plugin_config.image);
		bpull_info_close(info);
		return -1;
	}
	can_discard =
		layer.format == BPULL_FORMAT_RAW ||
		(layer.format == BPULL_FORMAT_QCOW2 && layer.version >= 3 && !layer.data_file_raw);
	bpull_info_close(info);
	return 0;
}

/* Opened as it will be, but for the audit, which may write. */
static int try_image(struct bpull_engine *trial, struct bpull_error *error)
{
	struct bpull_disk_options o = plugin_config.disk;
	struct bpull_disk *opened;
	int rc;

	if (!(o.flags & BPULL_DISK_READ_ONLY) && o.format != BPULL_FORMAT_RAW)
		o.flags &= ~(uint32_t)(BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ);
	rc = bpull_disk_open(trial, plugin_config.image, &o, &opened, error);
	if (rc)
		return rc;
	if (bpull_disk_warning(opened))
		nbdkit_error("%s", bpull_disk_warning(opened));
	if (bpull_disk_hint(opened))
		nbdkit_error("note: %s; if you know better: holes=trust", bpull_disk_hint(opened));
	return plugin_config.pull ? bpull_job_check(opened, &plugin_config.job, error) : 0;
}

static int try_control(struct bpull_error *error)
{
	return plugin_config.control ? control_try(plugin_config.control, error) : 0;
}

/* Threads do not survive nbdkit's fork into the background, so all begins behind it. What can be
 * known to be wrong is found before: nbdkit has made no socket and no file yet. */
static int plugin_get_ready(void)
{
	struct bpull_engine_options eo = plugin_config.engine;
	struct bpull_engine *trial = NULL;
	struct bpull_error error;
	int rc;

	if (ask_format())
		return -1;
	eo.flags &= ~(uint32_t)BPULL_ENGINE_THREAD;
	eo.io = eo.io == BPULL_IO_AUTO ? BPULL_IO_THREADS : eo.io;
	rc = bpull_engine_open(&eo, &trial, &error);
	if (!rc)
		rc = try_image(trial, &error);
	if (!rc)
		rc = try_control(&error);
	if (rc)
		complain(&error);
	bpull_engine_close(trial);
	if (!rc && start_watch()) {
		nbdkit_error("out of memory");
		rc = -ENOMEM;
	}
	return rc ? -1 : 0;
}

static int start_monitor(struct bpull_error *error)
{
	int rc;

	quit_fd = eventfd(0, EFD_CLOEXEC);
	rc = quit_fd < 0 ? errno : pthread_create(&monitor, NULL, watch_job, NULL);
	if (!rc)
		return 0;
	if (quit_fd >= 0)
		close(quit_fd);
	quit_fd = -1;
	error->code = -rc;
	snprintf(error->message, sizeof(error->message), "cannot start a thread: %s", strerror(rc));
	return -rc;
}

/* The monitor is last: it is what takes the events of the job. */
static int start(struct bpull_error *error)
{
	int rc = bpull_engine_open(&plugin_config.engine, &engine, error);

	if (!rc)
		rc = bpull_disk_open(engine, plugin_config.image, &plugin_config.disk, &disk,
				     error);
	if (rc)
		return rc;
	target = (struct control_target){ .disk = disk,
					  .device = plugin_config.device,
					  .path = plugin_config.image,
					  .how = &plugin_config.disk,
					  .job = plugin_config.job,
					  .stays = true };
	if (plugin_config.control)
		rc = control_open(plugin_config.control, &target, &control, error);
	if (!rc && plugin_config.pull)
		rc = bpull_job_start(disk, &plugin_config.job, error);
	if (!rc && control && plugin_config.pull)
		control_job_started(&target, &plugin_config.job);
	return rc ? rc : start_monitor(error);
}

static void plugin_cleanup(void)
{
	uint64_t one = 1;

	if (quit_fd >= 0) {
		(void)!write(quit_fd, &one, sizeof(one));
		pthread_join(monitor, NULL);
		close(quit_fd);
	}
	control_close(control);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
}

/* What fails is undone before it is told: then the image is free again when nbdkit's exit code is
 * seen. */
static int plugin_after_fork(void)
{
	struct bpull_error error;
	int rc = start(&error);

	if (rc) {
		advise(&error);
		plugin_cleanup();
	}
	start_tell(rc ? error.message : NULL);
	return rc ? -1 : 0;
}

/* ---- clients ---- */

static void *plugin_open(int readonly)
{
	const char *name = nbdkit_export_name();

	(void)readonly;
	if (!name)
		return NULL;
	if (config_is_export(name))
		return NBDKIT_HANDLE_NOT_NEEDED;
	/* The client has another disk in mind than the one it would write to. */
	nbdkit_error("export '%s': there is none but the one without a name", name);
	return NULL;
}

static int64_t plugin_get_size(void *handle)
{
	(void)handle;
	return (int64_t)bpull_disk_size(disk);
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_can_write(void *handle)
{
	(void)handle;
	return !plugin_config.read_only;
}

static int plugin_can_trim(void *handle)
{
	(void)handle;
	return can_discard && !plugin_config.read_only;
}

static int plugin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
			     uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = 4096;
	*maximum = 0xffffffff;
	return 0;
}

static int result(int rc)
{
	if (rc >= 0)
		return 0;
	nbdkit_set_error(rc == -EUCLEAN ? EIO : -rc); /* an NBD client knows no damaged image */
	nbdkit_debug("%s", strerror(-rc));
	return -1;
}

static uint32_t io_flags(uint32_t flags)
{
	return flags & NBDKIT_FLAG_FUA ? BPULL_IO_FUA : 0;
}

static int plugin_pread(void *handle, void *buf, uint32_t len, uint64_t off, uint32_t flags)
{
	(void)handle;
	(void)flags;
	return result(bpull_pread(disk, buf, len, off));
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t len, uint64_t off, uint32_t flags)
{
	(void)handle;
	return result(bpull_pwrite(disk, buf, len, off, io_flags(flags)));
}

static int plugin_zero(void *handle, uint32_t len, uint64_t off, uint32_t flags)
{
	uint32_t how = io_flags(flags) | (flags & NBDKIT_FLAG_MAY_TRIM ? BPULL_IO_UNMAP : 0);

	(void)handle;
	return result(bpull_pwrite_zeroes(disk, off, len, how));
}

static int plugin_trim(void *handle, uint32_t len, uint64_t off, uint32_t flags)
{
	int rc = bpull_pdiscard(disk, off, len);

	(void)handle;
	if (!rc && flags & NBDKIT_FLAG_FUA)
		rc = bpull_pflush(disk);
	return result(rc);
}

static int plugin_flush(void *handle, uint32_t flags)
{
	(void)handle;
	(void)flags;
	return plugin_config.read_only ? 0 : result(bpull_pflush(disk));
}

static uint32_t extent_type(const struct bpull_extent *e)
{
	return (e->zero ? NBDKIT_EXTENT_ZERO : 0) | (e->data ? 0 : NBDKIT_EXTENT_HOLE);
}

static int plugin_extents(void *handle, uint32_t len, uint64_t off, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	uint64_t end = off + len;

	(void)handle;
	while (off < end) {
		struct bpull_extent list[MAX_EXTENTS];
		int n = bpull_pblock_status(disk, off, end - off, list, MAX_EXTENTS);

		if (n < 0)
			return result(n);
		for (int i = 0; i < n; i++)
			if (nbdkit_add_extent(extents, list[i].start, list[i].length,
					      extent_type(&list[i])))
				return -1;
		if (!n || flags & NBDKIT_FLAG_REQ_ONE)
			break;
		off = list[n - 1].start + list[n - 1].length;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "blockpull",
	.longname = "blockpull: images that are pulled while they are used",
	.description = "Serves a qcow2, QED or raw image and pulls its backing chain into it.",
	.version = "0.1.0",
	.load = config_load,
	.unload = config_free,
	.config = config_take,
	.config_complete = config_finish,
	.config_help = plugin_config_help,
	.magic_config_key = "image",
	.get_ready = plugin_get_ready,
	.after_fork = plugin_after_fork,
	.cleanup = plugin_cleanup,
	.open = plugin_open,
	.get_size = plugin_get_size,
	.can_write = plugin_can_write,
	.can_flush = yes,
	.can_trim = plugin_can_trim,
	.can_zero = plugin_can_write,
	.can_fua = plugin_can_fua,
	.can_multi_conn = yes,
	.can_extents = yes,
	.block_size = plugin_block_size,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.flush = plugin_flush,
	.trim = plugin_trim,
	.zero = plugin_zero,
	.extents = plugin_extents,
	.errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN(plugin)
