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
#include "io/err.h"
#include "io/file.h"

/* ---- names that stay relative ---- */

/* The file that the layer opens is the one that `name` leads to. */
static bool is_same_file(const char *path, const char *name)
{
	char *a = realpath(path, NULL), *b = realpath(name, NULL);
	bool same = a && b && !strcmp(a, b);

	free(a);
	free(b);
	return same;
}

static int refuse_absolute(const struct bpull_layer_info *layer, struct bpull_error *error)
{
	struct shown shown;

	return virt_fail(
		error, -ENOTSUP,
		"%s: its backing file is recorded by an absolute name, so that no "
		"relative one can take its place: leave RELATIVE out",
		err_escape(layer->path, strlen(layer->path), shown.name, sizeof(shown.name)));
}

/* Each link of the chain down to `base`, or to its end, is a relative name. */
static int check_relative(struct bpull_virt *virt, const char *path, const char *base,
			  struct bpull_error *error)
{
	struct bpull_disk_options how = virt->options;
	struct bpull_info *info;
	int rc = 0;

	how.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	how.opened = NULL;
	if (bpull_info_open(path, &how, &info, error))
		return -1;
	for (unsigned i = 0; !rc && i < bpull_info_depth(info); i++) {
		struct bpull_layer_info layer = { .size = sizeof(layer) };

		if (bpull_info_layer(info, i, &layer) || (base && is_same_file(layer.path, base)) ||
		    !layer.backing_name)
			break;
		if (*layer.backing_name == '/')
			rc = refuse_absolute(&layer, error);
	}
	bpull_info_close(info);
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

	error_begin(error);
	if (is_missing(virt, "virt", error) || check_rebase(base, flags, error) ||
	    virt_to_bytes(bandwidth, flags & BPULL_VIRT_BLOCK_REBASE_BANDWIDTH_BYTES, &o.bandwidth,
			  error) ||
	    (flags & BPULL_VIRT_BLOCK_REBASE_RELATIVE && check_relative(virt, path, base, error)))
		return -1;
	return virt_start(virt, path, &o, error);
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

/* What base and top mean, found in the image's chain as it is now. */
struct ends {
	char *base;      /* owned */
	bool top_is_top; /* the image itself */
};

static int find_ends(struct bpull_virt *virt, const char *path, const char *base, const char *top,
		     unsigned int flags, struct ends *ends, struct bpull_error *error)
{
	struct bpull_disk_options how = virt->options;
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	unsigned depth, i = 0;

	how.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	how.opened = NULL;
	if (bpull_info_open(path, &how, &info, error))
		return -1;
	depth = bpull_info_depth(info);
	for (; top && i < depth; i++)
		if (!bpull_info_layer(info, i, &layer) && is_same_file(layer.path, top))
			break;
	ends->top_is_top = !i;
	i = flags & BPULL_VIRT_BLOCK_COMMIT_SHALLOW ? i + 1 : depth - 1;
	if (!base && i && i < depth && !bpull_info_layer(info, i, &layer))
		ends->base = strdup(layer.path);
	else
		ends->base = base ? strdup(base) : NULL;
	bpull_info_close(info);
	return ends->base ? 0
			  : virt_fail(error, -EINVAL,
				      "there is no file below the top that could be the base");
}

static int start_down(struct bpull_virt *virt, const char *path, const char *top,
		      const struct ends *ends, uint64_t bandwidth, struct bpull_error *error)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .type = BPULL_JOB_TYPE_COMMIT,
				       .base = ends->base,
				       .top = ends->top_is_top ? NULL : top,
				       .bandwidth = bandwidth };

	if (ends->top_is_top)
		o.flags |= BPULL_JOB_MANUAL_FINALIZE | BPULL_JOB_KEEP;
	return virt_start(virt, path, &o, error);
}

int bpull_virt_block_commit(struct bpull_virt *virt, const char *path, const char *base,
			    const char *top, unsigned long bandwidth, unsigned int flags,
			    struct bpull_error *error)
{
	struct ends ends = { 0 };
	uint64_t rate;
	int rc;

	error_begin(error);
	if (is_missing(virt, "virt", error) || is_missing(path, "path", error) ||
	    check_commit(base, top, flags, error) ||
	    virt_to_bytes(bandwidth, flags & BPULL_VIRT_BLOCK_COMMIT_BANDWIDTH_BYTES, &rate,
			  error) ||
	    (flags & BPULL_VIRT_BLOCK_COMMIT_RELATIVE && check_relative(virt, path, base, error)) ||
	    find_ends(virt, path, base, top, flags, &ends, error))
		return -1;
	if (flags & BPULL_VIRT_BLOCK_COMMIT_ACTIVE && !ends.top_is_top)
		rc = virt_fail(
			error, -EINVAL,
			"ACTIVE is for a commit of the image itself, and another file is named");
	else if (!(flags & BPULL_VIRT_BLOCK_COMMIT_ACTIVE) && ends.top_is_top)
		rc = virt_fail(error, -EINVAL, "a commit of the image itself needs ACTIVE");
	else
		rc = start_down(virt, path, top, &ends, rate, error);
	free(ends.base);
	return rc;
}
