/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * virDomainBlockRebase() and virDomainBlockCommit(): jobs that change which files a
 * chain has. What libvirt has for copies is refused by name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/libvirt/libvirt.h"
#include "engine/api/libvirt/libvirt_handle.h"
#include "engine/api/options/args.h"
#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"
#include "engine/core/export.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

/* ---- the disk's chain ---- */

/* The name by which the disk has opened an image, which the caller frees. NULL, with *error filled:
 * the chain has none there, or there is no memory. */
static char *path_at(struct bpull_disk *disk, uint32_t depth, struct bpull_error *error)
{
	int len = bpull_disk_layer_path(disk, depth, NULL, 0);
	char *path = len < 0 ? NULL : malloc((size_t)len + 1);

	if (path && bpull_disk_layer_path(disk, depth, path, (size_t)len + 1) == len)
		return path;
	free(path);
	if (len < 0)
		error_fill(error, -EINVAL, "there is no file below the top that could be the base");
	else
		error_fill(error, path ? -EBUSY : -ENOMEM, "%s",
			   path ? "the disk's chain changes this very moment" : "out of memory");
	return NULL;
}

/* The file that the disk has opened is the one that `name` leads to. */
static bool is_same_file(const char *path, const char *name)
{
	char *a = realpath(path, NULL), *b = realpath(name, NULL);
	bool same = a && b && !strcmp(a, b);

	free(a);
	free(b);
	return same;
}

/* The depth of the layer that `name` leads to; 0: the disk's image, which bpull_disk_find() does
 * not find. 0 or -1. */
static int find_depth(struct bpull_disk *disk, const char *name, uint32_t *depth,
		      struct bpull_error *error)
{
	char *image = path_at(disk, 0, error);
	int rc = 0;

	if (!image)
		return -1;
	*depth = 0;
	if (!is_same_file(image, name))
		rc = bpull_disk_find(disk, name, depth, error) ? -1 : 0;
	free(image);
	return rc;
}

/* ---- names that stay relative ---- */

static int refuse_absolute(const struct bpull_layer_info *layer, struct bpull_error *error)
{
	struct shown shown;

	return virt_fail(
		error, -ENOTSUP,
		"%s: its backing file is recorded by an absolute name, so that no "
		"relative one can take its place: leave RELATIVE out",
		err_escape(layer->path, strlen(layer->path), shown.name, sizeof(shown.name)));
}

/* The image's link is a relative name. */
static int check_link(struct bpull_virt *virt, const char *path, struct bpull_error *error)
{
	struct bpull_disk_options how = {
		.size = sizeof(how),
		.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE | BPULL_DISK_NO_BACKING,
		.relative_dir = virt->options.relative_dir,
		.open_file = virt->options.open_file,
		.open_opaque = virt->options.open_opaque,
		.find_base = virt->options.find_base,
		.find_opaque = virt->options.find_opaque,
	};
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	int rc = 0;

	if (bpull_info_open(path, &how, &info, error))
		return -1;
	if (!bpull_info_layer(info, 0, &layer) && layer.backing_name && *layer.backing_name == '/')
		rc = refuse_absolute(&layer, error);
	bpull_info_close(info);
	return rc;
}

/* Each link of the chain down to `base`, or to its end, is a relative name. */
static int check_relative(struct bpull_virt *virt, struct bpull_disk *disk, const char *base,
			  struct bpull_error *error)
{
	uint32_t depth = bpull_disk_depth(disk) - 1;
	int rc = base ? find_depth(disk, base, &depth, error) : 0;

	for (uint32_t i = 0; !rc && i < depth; i++) {
		char *path = path_at(disk, i, error);

		rc = path ? check_link(virt, path, error) : -1;
		free(path);
	}
	return rc;
}

/* ---- rebase ---- */

#define REBASE_FOR_COPIES                                                       \
	(BPULL_VIRT_BLOCK_REBASE_REUSE_EXT | BPULL_VIRT_BLOCK_REBASE_COPY_RAW | \
	 BPULL_VIRT_BLOCK_REBASE_COPY | BPULL_VIRT_BLOCK_REBASE_COPY_DEV |      \
	 BPULL_VIRT_BLOCK_REBASE_SHALLOW)

static int check_rebase(const char *base, unsigned int flags, struct bpull_error *error)
{
	if (flags & BPULL_VIRT_BLOCK_REBASE_COPY)
		return virt_fail(error, -ENOTSUP,
				 "a disk is not copied by this library: flatten writes a new file");
	if (flags & REBASE_FOR_COPIES)
		return virt_fail(error, -EINVAL, "flags %#x go with COPY only",
				 flags & REBASE_FOR_COPIES);
	if (flags & BPULL_VIRT_BLOCK_REBASE_RELATIVE && !base)
		return virt_fail(error, -EINVAL, "RELATIVE goes with a base only");
	return virt_check_flags(flags,
				REBASE_FOR_COPIES | BPULL_VIRT_BLOCK_REBASE_RELATIVE |
					BPULL_VIRT_BLOCK_REBASE_BANDWIDTH_BYTES,
				error);
}

int bpull_virt_block_rebase(struct bpull_virt *virt, const char *path, const char *base,
			    unsigned long bandwidth, unsigned int flags, struct bpull_error *error)
{
	struct bpull_job_options o = { .size = sizeof(o), .base = base };
	struct virt_disk *d;

	error_begin(error);
	if (is_missing(virt, "virt", error) || check_rebase(base, flags, error) ||
	    virt_to_bytes(bandwidth, flags & BPULL_VIRT_BLOCK_REBASE_BANDWIDTH_BYTES, &o.bandwidth,
			  error) ||
	    virt_get_or_open(virt, path, &d, error))
		return -1;
	if (flags & BPULL_VIRT_BLOCK_REBASE_RELATIVE &&
	    check_relative(virt, d->disk, base, error)) {
		virt_put_opened(virt, d);
		return -1;
	}
	return virt_start(virt, d, &o, error);
}

/* ---- commit ---- */

static int check_commit(const char *base, const char *top, unsigned int flags,
			struct bpull_error *error)
{
	if (flags & BPULL_VIRT_BLOCK_COMMIT_DELETE)
		return virt_fail(error, -ENOTSUP,
				 "files that were committed are the program's to remove: leave "
				 "DELETE out");
	if (flags & BPULL_VIRT_BLOCK_COMMIT_SHALLOW && base)
		return virt_fail(error, -EINVAL, "SHALLOW names the base, so none can be given");
	if (!top && !(flags & BPULL_VIRT_BLOCK_COMMIT_ACTIVE))
		return virt_fail(error, -EINVAL,
				 "a commit of the image itself needs ACTIVE: name a file below it, "
				 "or give that flag");
	return virt_check_flags(flags,
				BPULL_VIRT_BLOCK_COMMIT_SHALLOW | BPULL_VIRT_BLOCK_COMMIT_ACTIVE |
					BPULL_VIRT_BLOCK_COMMIT_RELATIVE |
					BPULL_VIRT_BLOCK_COMMIT_BANDWIDTH_BYTES,
				error);
}

/* What base and top mean in the disk's chain as it is now: a snapshot or a pivot may have given the
 * disk another image than the one by whose path the handle knows it. */
struct ends {
	char *base;      /* owned */
	bool top_is_top; /* the image itself */
};

static int find_ends(struct bpull_disk *disk, const char *base, const char *top, unsigned int flags,
		     struct ends *ends, struct bpull_error *error)
{
	uint32_t depth = 0, below;

	if (top && find_depth(disk, top, &depth, error))
		return -1;
	ends->top_is_top = !depth;
	if (base) {
		ends->base = strdup(base);
		return ends->base ? 0 : virt_fail(error, -ENOMEM, "out of memory");
	}
	below = flags & BPULL_VIRT_BLOCK_COMMIT_SHALLOW ? depth + 1 : bpull_disk_depth(disk) - 1;
	ends->base = path_at(disk, MAX(below, depth + 1), error);
	return ends->base ? 0 : -1;
}

static int check_active(const struct ends *ends, unsigned int flags, struct bpull_error *error)
{
	if (flags & BPULL_VIRT_BLOCK_COMMIT_ACTIVE && !ends->top_is_top)
		return virt_fail(
			error, -EINVAL,
			"ACTIVE is for a commit of the image itself, and another file is named");
	if (!(flags & BPULL_VIRT_BLOCK_COMMIT_ACTIVE) && ends->top_is_top)
		return virt_fail(error, -EINVAL, "a commit of the image itself needs ACTIVE");
	return 0;
}

static int start_down(struct bpull_virt *virt, struct virt_disk *d, const char *top,
		      const struct ends *ends, uint64_t bandwidth, struct bpull_error *error)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .type = BPULL_JOB_TYPE_COMMIT,
				       .base = ends->base,
				       .top = ends->top_is_top ? NULL : top,
				       .bandwidth = bandwidth };

	if (ends->top_is_top)
		o.flags |= BPULL_JOB_MANUAL_FINALIZE | BPULL_JOB_KEEP;
	return virt_start(virt, d, &o, error);
}

int bpull_virt_block_commit(struct bpull_virt *virt, const char *path, const char *base,
			    const char *top, unsigned long bandwidth, unsigned int flags,
			    struct bpull_error *error)
{
	struct ends ends = { 0 };
	struct virt_disk *d;
	uint64_t rate;
	int rc;

	error_begin(error);
	if (is_missing(virt, "virt", error) || is_missing(path, "path", error) ||
	    check_commit(base, top, flags, error) ||
	    virt_to_bytes(bandwidth, flags & BPULL_VIRT_BLOCK_COMMIT_BANDWIDTH_BYTES, &rate,
			  error) ||
	    virt_get_or_open(virt, path, &d, error))
		return -1;
	if ((flags & BPULL_VIRT_BLOCK_COMMIT_RELATIVE &&
	     check_relative(virt, d->disk, base, error)) ||
	    find_ends(d->disk, base, top, flags, &ends, error) ||
	    check_active(&ends, flags, error)) {
		virt_put_opened(virt, d);
		rc = -1;
	} else {
		rc = start_down(virt, d, top, &ends, rate, error);
	}
	free(ends.base);
	return rc;
}
