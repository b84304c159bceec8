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
#include <stdint.h>
#include <string.h>

#include <nbdkit-plugin.h>

#include "engine/blockpull.h"
#include "tools/nbdkit/config.h"
#include "tools/nbdkit/serve.h"
#include "tools/trace/recorder.h"

#define MAX_EXTENTS 64

#define plugin_config_help                                                                      \
	"image=FILE            the image (required)\n"                                          \
	"readonly=true         serve it read only, as nbdkit's -r does\n"                       \
	"pull=true             pull its backing chain into it while it is served\n"             \
	"bandwidth=RATE        at most RATE bytes a second (50M; default: no limit)\n"          \
	"host-budget=FILE[:RATE]\n"                                                             \
	"                      takes what is copied from a budget of RATE bytes a second\n"     \
	"                      that all processes share which name the FILE\n"                  \
	"iops=N                at most N reads and writes a second\n"                           \
	"within=TIME           be done in TIME (30m), raising the limit where it is late\n"     \
	"min-rate=RATE         give way to clients only above RATE bytes a second\n"            \
	"guest-p99=TIME        give way so that 99 of 100 of the clients' requests take less\n" \
	"                      than TIME (5ms), but never below min-rate\n"                     \
	"base=FILE             pull what is above FILE only, which stays its backing file\n"    \
	"copy-on-read=true     keep what clients read from the chain\n"                         \
	"manual-finalize=true  keep the link to the backing file until told otherwise\n"        \
	"accept-mixed=true     pull an image marked because a backing file had changed\n"       \
	"verify=true           read back what was copied before the link goes\n"                \
	"first=FILE[:SIZE]     pull first what a trace names, or SIZE bytes of it\n"            \
	"trace=FILE            record what clients touch first, and write it now and then\n"    \
	"control=SOCKET        steer the pull through a socket: see blockpull ctl\n"            \
	"node-name=NAME        the image's name for that, then its backing file's; repeat it\n" \
	"on-error=WHAT         report, stop or enospc: what an I/O error does to the pull\n"    \
	"format=FMT            qcow2, qed or raw (a raw disk must be named so)\n"               \
	"backing-format=FMT    of backing files for which none is recorded; 'auto': by\n"       \
	"                      probing; FILE=FMT: of one of them; may be repeated\n"            \
	"allow-backing=DIR     backing files may lie below DIR, too; 'any', 'none'\n"           \
	"allow-remote=PLACE    bases behind a network that names may lead to:\n"                \
	"                      nbd:HOST[:PORT], nbd+unix:DIR, nbds:...; may be repeated\n"      \
	"map-backing=NAME=URI  open URI, or a FILE, where an image names NAME; may be\n"        \
	"                      repeated\n"                                                      \
	"open-timeout=SECONDS  how long a server may take to be opened (default 30)\n"          \
	"remote-timeout=SECONDS\n"                                                              \
	"                      how long it may be away before that is told as an\n"             \
	"                      error (300)\n"                                                   \
	"guest-timeout=SECONDS the same before a client's request fails and a pull pauses\n"    \
	"                      (30)\n"                                                          \
	"tls-certificates=DIR  for nbds: the authority's and our own certificates and key\n"    \
	"tls-psk-file=FILE     for nbds: keys shared with the server instead\n"                 \
	"tls-user=NAME         the user of that file whose key is used\n"                       \
	"expect=[NAME=]FILE    what the base NAME must hold, or the only one behind a\n"        \
	"                      network; may be repeated\n"                                      \
	"holes=MODE            auto, read or trust: which holes of raw files are left out\n"    \
	"io=MODE               auto, uring or threads\n"                                        \
	"memory=SIZE           for buffers and tables (default 48M)"

static void *plugin_open(int readonly)
{
	const char *name = nbdkit_export_name();

	(void)readonly;
	if (!name)
		return NULL;
	if (config_is_export(name))
		return NBDKIT_HANDLE_NOT_NEEDED;
	/* The client has another disk in mind than the one it would write to. */
	nbdkit_error("export '%s': there is only one export, and it has no name", name);
	return NULL;
}

static void plugin_close(void *handle)
{
	(void)handle;
	serve_client_has_gone();
}

static int64_t plugin_get_size(void *handle)
{
	(void)handle;
	return (int64_t)bpull_disk_size(serve_disk());
}

static int plugin_yes(void *handle)
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
	return serve_can_discard() && !plugin_config.read_only;
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

static int plugin_result(int rc)
{
	if (rc >= 0)
		return 0;
	/* An NBD client knows no damaged image, nor what is expected of a base. */
	nbdkit_set_error(rc == -EUCLEAN || rc == -EBADMSG ? EIO : -rc);
	nbdkit_debug("%s", strerror(-rc));
	return -1;
}

static uint32_t plugin_io_flags(uint32_t flags)
{
	return flags & NBDKIT_FLAG_FUA ? BPULL_IO_FUA : 0;
}

static int plugin_pread(void *handle, void *buf, uint32_t len, uint64_t off, uint32_t flags)
{
	(void)handle;
	(void)flags;
	recorder_read(serve_recorder(), off, len);
	return plugin_result(bpull_pread(serve_disk(), buf, len, off));
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t len, uint64_t off, uint32_t flags)
{
	(void)handle;
	recorder_write(serve_recorder(), off, len);
	return plugin_result(bpull_pwrite(serve_disk(), buf, len, off, plugin_io_flags(flags)));
}

static int plugin_zero(void *handle, uint32_t len, uint64_t off, uint32_t flags)
{
	uint32_t how = plugin_io_flags(flags) | (flags & NBDKIT_FLAG_MAY_TRIM ? BPULL_IO_UNMAP : 0);

	(void)handle;
	return plugin_result(bpull_pwrite_zeroes(serve_disk(), off, len, how));
}

static int plugin_trim(void *handle, uint32_t len, uint64_t off, uint32_t flags)
{
	int rc = bpull_pdiscard(serve_disk(), off, len);

	(void)handle;
	if (!rc && flags & NBDKIT_FLAG_FUA)
		rc = bpull_pflush(serve_disk());
	return plugin_result(rc);
}

static int plugin_flush(void *handle, uint32_t flags)
{
	(void)handle;
	(void)flags;
	return plugin_config.read_only ? 0 : plugin_result(bpull_pflush(serve_disk()));
}

static uint32_t plugin_extent_type(const struct bpull_extent *e)
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
		int n = bpull_pblock_status(serve_disk(), off, end - off, list, MAX_EXTENTS);

		if (n < 0)
			return plugin_result(n);
		for (int i = 0; i < n; i++)
			if (nbdkit_add_extent(extents, list[i].start, list[i].length,
					      plugin_extent_type(&list[i])))
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
	.get_ready = serve_get_ready,
	.after_fork = serve_after_fork,
	.cleanup = serve_cleanup,
	.open = plugin_open,
	.close = plugin_close,
	.get_size = plugin_get_size,
	.can_write = plugin_can_write,
	.can_flush = plugin_yes,
	.can_trim = plugin_can_trim,
	.can_zero = plugin_can_write,
	.can_fua = plugin_can_fua,
	.can_multi_conn = plugin_yes,
	.can_extents = plugin_yes,
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
