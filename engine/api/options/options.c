/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How a program wants images opened: its options, checked and in the words of formats/chain/, and
 * the policy on backing files that they ask for.
 */
#include "engine/api/options/options.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/api/options/open_flags.h"
#include "engine/api/options/source.h"
#include "engine/api/options/structs.h"
#include "engine/api/options/told.h"
#include "engine/blockpull.h"
#include "engine/core/export.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"

static bool names_are_there(const struct bpull_disk_options *o)
{
	for (size_t i = 0; i < o->n_allowed_dirs; i++)
		if (!o->allowed_dirs || !o->allowed_dirs[i])
			return false;
	return true;
}

int options_take(enum open_way way, const struct bpull_disk_options *given,
		 struct bpull_disk_options *out, struct bpull_error *error)
{
	struct err err = { 0 };

	if (!options_import(out, sizeof(*out), given) || out->format > OPTIONS_LAST_FORMAT ||
	    out->backing_format > OPTIONS_LAST_FORMAT || out->backing_rule > BPULL_BACKING_NONE ||
	    !names_are_there(out) || out->backing_trust > BPULL_TRUST_ALL || !told_are_known(out))
		return error_fill(error, -EINVAL, "unknown disk options");
	if (out->backing_trust && out->backing_format)
		return error_fill(error, -EINVAL,
				  "backing files whose format is not recorded can't be probed and "
				  "be %s at once: BPULL_TRUST_ALL goes without a backing_format",
				  bpull_format_name(out->backing_format));
	if (out->backing_rule == BPULL_BACKING_NONE && out->n_allowed_dirs)
		return error_fill(
			error, -EINVAL,
			"no backing file is allowed (BPULL_BACKING_NONE), and allowed_dirs "
			"allows some: leave one of the two out");
	if (out->relative_dir && out->relative_dir[0] != '/')
		return error_fill(error, -EINVAL, "relative_dir is not an absolute name");
	if (out->open_file ? out->backing_rule || out->n_allowed_dirs : out->open_opaque != NULL)
		return error_fill(error, -EINVAL,
				  out->open_file
					  ? "open_file says which files may be opened: it "
					    "goes without backing_rule and allowed_dirs"
					  : "open_opaque is for open_file, which is missing");
	if (out->find_base ? out->open_file != NULL : out->find_opaque != NULL)
		return error_fill(error, -EINVAL,
				  out->find_base
					  ? "open_file opens what the chain names: it goes "
					    "without find_base"
					  : "find_opaque is for find_base, which is missing");
	out->size = sizeof(*out);
	return open_flags_check(way, out->flags, &err) ? error_export(&err, error) : 0;
}

/* The directory of the file that a path leads to, all symlinks resolved. The caller frees it. NULL
 * and errno. */
static char *real_directory(const char *path)
{
	char *real = realpath(path, NULL), *slash;

	if (!real)
		return NULL;
	slash = strrchr(real, '/');
	slash[slash == real] = '\0';
	return real;
}

/* 0 if the image does not exist or can't be reached: opening it will give a better error. Another
 * error is reported here: without the image's directory the policy would refuse its backing
 * files. */
static int cannot_resolve(const char *image, int why, struct err *err)
{
	char name[512];

	if (why == ENOENT || why == ENOTDIR || why == EACCES || why == ELOOP || why == ENAMETOOLONG)
		return 0;
	return err_errno(err, -why, "%s: cannot find its directory",
			 err_escape(image, strlen(image), name, sizeof(name)));
}

static int keep_missing(const char *named, struct path_policy *policy, struct err *err)
{
	if (!policy->missing)
		policy->missing = strdup(named);
	return policy->missing ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* Allows one thing that the user named: all below a directory, or one file or device. A name that
 * does not exist (a pool that is not mounted) allows nothing, and is no error. */
static int add_named(const char *named, char **dirs, char **files, struct path_policy *policy,
		     struct err *err)
{
	char *real = realpath(named, NULL), name[512];
	struct stat st;
	int rc = real && !stat(real, &st) ? 0 : -errno;

	if (rc == -ENOENT || rc == -ENOTDIR) {
		free(real);
		return keep_missing(named, policy, err);
	}
	if (!rc && S_ISDIR(st.st_mode)) {
		dirs[policy->n_dirs++] = real;
		return 0;
	}
	if (!rc && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
		files[policy->n_files++] = real;
		return 0;
	}
	free(real);
	err_escape(named, strlen(named), name, sizeof(name));
	return rc ? err_errno(err, rc, "allowed for backing files: %s", name)
		  : err_set(err, -EINVAL,
			    "allowed for backing files: %s is neither a directory nor a file or "
			    "block device",
			    name);
}

static int add_all_named(const struct bpull_disk_options *options, struct path_policy *policy,
			 struct err *err)
{
	size_t n = options->n_allowed_dirs;
	char **dirs = calloc(n + 1, sizeof(*dirs)), **files = calloc(n + 1, sizeof(*files));
	int rc = dirs && files ? 0 : err_set(err, -ENOMEM, "out of memory");

	policy->dirs = (const char *const *)dirs;
	policy->files = (const char *const *)files;
	for (size_t i = 0; !rc && i < n; i++)
		rc = add_named(options->allowed_dirs[i], dirs, files, policy, err);
	return rc;
}

int policy_build(const struct bpull_disk_options *options, const char *image,
		 struct path_policy *policy, struct err *err)
{
	static const enum path_rule rules[] = {
		[BPULL_BACKING_DIRS] = PATH_RULE_TREE,
		[BPULL_BACKING_ANY] = PATH_RULE_ANY,
		[BPULL_BACKING_NONE] = PATH_RULE_NONE,
	};
	int rc;

	*policy = (struct path_policy){ 0 };
	if (options->open_file) /* it is the policy */
		return 0;
	policy->rule = rules[options->backing_rule];
	if (policy->rule != PATH_RULE_TREE)
		return 0;
	/* chain_open() takes it away again if the image turns out to be a device. */
	policy->own_dir = real_directory(image);
	rc = policy->own_dir ? 0 : cannot_resolve(image, errno, err);
	if (!rc)
		rc = add_all_named(options, policy, err);
	if (rc)
		policy_free(policy);
	return rc;
}

void policy_free(struct path_policy *policy)
{
	for (size_t i = 0; i < policy->n_dirs; i++)
		free((char *)policy->dirs[i]);
	for (size_t i = 0; i < policy->n_files; i++)
		free((char *)policy->files[i]);
	free((void *)policy->dirs);
	free((void *)policy->files);
	free((char *)policy->own_dir);
	free((char *)policy->missing);
	*policy = (struct path_policy){ 0 };
}

/* Asks the program's open_file() for what the chain wants to open. */
static int give_file(void *opaque, const struct file_wish *wish)
{
	const struct bpull_disk_options *options = opaque;
	struct bpull_open_request request = {
		.size = sizeof(request),
		.name = wish->name,
		.recorded = wish->recorded,
		.need = wish->for_locks ? BPULL_OPEN_LOCK
			: wish->write   ? BPULL_OPEN_WRITE
					: BPULL_OPEN_READ,
		.what = wish->is_data ? BPULL_OPEN_DATA : BPULL_OPEN_IMAGE,
	};

	return options->open_file(options->open_opaque, &request);
}

struct file_giver options_giver(const struct bpull_disk_options *options)
{
	return (struct file_giver){ .give = options->open_file ? give_file : NULL,
				    .opaque = (void *)options };
}

struct chain_open options_chain(const struct bpull_disk_options *options, const char *image,
				const struct path_policy *policy)
{
	return (struct chain_open){
		.name = image,
		.format = (enum image_format)options->format,
		.backing_format = (enum image_format)options->backing_format,
		.trust_formats = options->backing_trust == BPULL_TRUST_ALL,
		.no_backing = options->flags & BPULL_DISK_NO_BACKING,
		.no_lock = options->flags & BPULL_DISK_FORCE_SHARE,
		.holes = open_flags_holes(options->flags),
		.direct = options->flags & BPULL_DISK_DIRECT,
		.relative_dir = options->relative_dir,
		.policy = policy,
		.finder = { .find = options->find_base ? source_find : NULL,
			    .opaque = (void *)options },
		.giver = options_giver(options),
	};
}

static_assert((int)BPULL_FORMAT_RAW == (int)IMAGE_RAW &&
		      (int)BPULL_FORMAT_QCOW2 == (int)IMAGE_QCOW2 &&
		      (int)BPULL_FORMAT_QED == (int)IMAGE_QED &&
		      (int)BPULL_FORMAT_QED == (int)IMAGE_LAST,
	      "one is cast to the other: a new format has the same number in both");

const char *bpull_format_name(enum bpull_format format)
{
	return format_name((enum image_format)format);
}

enum bpull_format bpull_format_by_name(const char *name)
{
	return name ? (enum bpull_format)format_by_name(name, strlen(name)) : BPULL_FORMAT_UNKNOWN;
}
