/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * New images. The backing file is opened once: it must exist and have the format
 * that the caller says, and its size is the image's if none is given. Its name is
 * recorded as given. The new file is made durable, and then gets its name, which is
 * made durable, too. Until then it has none, or where the directory has no such
 * files a temporary one.
 */
#include "engine/api/images/create.h"

#include <errno.h>

#include "engine/api/options/args.h"
#include "engine/api/options/options.h"
#include "engine/api/options/source.h"
#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "engine/core/export.h"
#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/chain/name.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/create.h"
#include "formats/qed/create.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/new_file.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"

#define CREATE_CACHE_LEN (1 * MiB)

/* Opens the new image's backing file, without a policy, since the user has named it, and without
 * the files below it. *guest_len: the length of its disk. */
static int look_at_backing(const char *path, const struct bpull_create_options *o,
			   uint64_t *guest_len, struct err *err)
{
	struct table_cache *cache = table_cache_new(CREATE_CACHE_LEN);
	struct layer_set *layers = cache ? layer_set_new(file_opener_posix(), cache) : NULL;
	struct chain_open how = {
		.format = (enum image_format)o->backing_format,
		.no_backing = true,
		.no_lock = true,
	};
	/* Only a name that is no path is the program's to find. */
	bool is_path = o->backing_name[strcspn(o->backing_name, ":/")] != ':' ||
		       !strncmp(o->backing_name, "file:", 5) || !o->find_base;
	struct bpull_disk_options finds = { .find_base = o->find_base,
					    .find_opaque = o->find_opaque };
	autofree char *backing = NULL;
	struct chain *chain = NULL;
	int rc = layers ? 0 : err_set(err, -ENOMEM, "out of memory");

	if (!rc && is_path)
		rc = chain_backing_path(path, o->backing_name, &backing, err);
	if (!rc && !is_path)
		how.finder = (struct chain_finder){ .find = source_find, .opaque = &finds };
	if (!rc) {
		how.name = is_path ? backing : o->backing_name;
		rc = chain_open(layers, &how, &chain, err);
	}
	if (!rc) {
		*guest_len = chain->layers[0]->guest_len;
		chain_close(chain, NULL, NULL);
	}
	if (layers)
		layer_set_free(layers);
	if (cache)
		table_cache_free(cache);
	return rc;
}

static int size_of(const char *path, const struct bpull_create_options *o, uint64_t *guest_len,
		   struct err *err)
{
	uint64_t backing_len = 0;
	int rc = 0;

	if (o->empty && o->virtual_size)
		return err_set(err, -EINVAL, "a new image has a size or is empty, not both");
	if (o->backing_name && !o->backing_format)
		return err_set(
			err, -EINVAL,
			"a backing file needs its format, since it must not be guessed later");
	if (!o->backing_name && o->backing_format)
		return err_set(err, -EINVAL,
			       "a backing file's format is given, but no backing file: name it, or "
			       "leave the format out");
	if (!o->find_base && o->find_opaque)
		return err_set(err, -EINVAL, "find_opaque is for find_base, which is missing");
	if (o->backing_name)
		rc = look_at_backing(path, o, &backing_len, err);
	else if (!o->virtual_size && !o->empty)
		return err_set(err, -EINVAL, "a new image needs a size or a backing file");
	if (o->virtual_size || o->empty)
		backing_len = o->virtual_size;
	*guest_len = round_up(backing_len, 512);
	if (!rc && o->virtual_size > INT64_MAX)
		return err_set(err, -EFBIG, "a disk of %llu bytes is too large",
			       (unsigned long long)o->virtual_size);
	return rc;
}

int create_check_format(const struct bpull_create_options *o, struct err *err)
{
	const char *name = bpull_format_name(o->format);

	if (o->format != BPULL_FORMAT_QCOW2 &&
	    (o->version || o->refcount_bits || o->lazy_refcounts || o->zstd))
		return err_set(
			err, -EINVAL,
			"%s images have no version, no width of refcounts, no lazy refcounts "
			"and no compression type: leave these options out",
			name);
	if (o->format != BPULL_FORMAT_QED && o->table_size)
		return err_set(err, -EINVAL, "%s images have no table size: leave this option out",
			       name);
	if (o->format == BPULL_FORMAT_RAW && o->cluster_size)
		return err_set(err, -EINVAL,
			       "raw images have no clusters: leave the cluster size out");
	return 0;
}

int create_image_in(struct file *file, const struct bpull_create_options *o, uint64_t guest_len,
		    struct err *err)
{
	struct image_create how = {
		.guest_len = guest_len,
		.cluster_len = o->cluster_size,
		.backing_name = o->backing_name,
		.backing_format = (enum image_format)o->backing_format,
		.version = o->version,
		.refcount_bits = o->refcount_bits,
		.lazy_refcounts = o->lazy_refcounts,
		.zstd = o->zstd,
		.table_clusters = o->table_size,
	};
	int rc = create_check_format(o, err);

	if (rc)
		return rc;
	switch (o->format) {
	case BPULL_FORMAT_QCOW2: return qcow2_create(file, &how, err);
	case BPULL_FORMAT_QED: return qed_create(file, &how, err);
	case BPULL_FORMAT_RAW: /* needs none of this */
	case BPULL_FORMAT_UNKNOWN: break;
	}
	return err_set(err, -EINVAL, "no image of the format %s is made here",
		       bpull_format_name(o->format));
}

/* Makes the new image in a file that gets its name when all is durable. `begin` creates the
 * file. */
static int make_file(int (*begin)(struct file_opener *opener, const char *path,
				  const struct file *like, struct new_file **out,
				  struct file **file, struct err *err),
		     const char *path, const struct bpull_create_options *o, uint64_t guest_len,
		     struct err *err)
{
	struct new_file *new_file;
	struct file *file;
	int rc = begin(file_opener_posix(), path, NULL, &new_file, &file, err);

	if (rc)
		return rc;
	rc = create_image_in(file, o, guest_len, err);
	if (!rc)
		rc = new_file_publish(new_file, file, err);
	file_close(file);
	new_file_free(new_file);
	return rc;
}

int bpull_create(const char *path, const struct bpull_create_options *options,
		 struct bpull_error *error)
{
	struct bpull_create_options o;
	struct err err = { 0 };
	uint64_t guest_len = 0;
	int rc;

	error_begin(error);
	if (is_missing(path, "path", error) || is_missing(options, "options", error))
		return -EINVAL;
	if (!options_import(&o, sizeof(o), options) ||
	    (o.format != BPULL_FORMAT_QCOW2 && o.format != BPULL_FORMAT_QED))
		return error_fill(error, -EINVAL, "only qcow2 and qed images can be created");
	if (o.backing_format > OPTIONS_LAST_FORMAT)
		return error_fill(error, -EINVAL, "unknown backing format");
	rc = size_of(path, &o, &guest_len, &err);
	if (rc)
		return error_export(&err, error);
	if (o.creating)
		o.creating(o.user_data);
	rc = make_file(new_file_create_unnamed, path, &o, guest_len, &err);
	if (rc == -EOPNOTSUPP)
		rc = make_file(new_file_create, path, &o, guest_len, &err);
	return rc ? error_export(&err, error) : 0;
}
