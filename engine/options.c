/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Option structs as programs of any age pass them, and the policy on backing
 * files they ask for. One import function for all structs: a caller's shorter
 * struct is filled up with zeros, a longer one may only have zeros we do not
 * know. Versioned function names were rejected: they double with each field.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "engine/engine.h"
#include "io/base.h"

#define KNOWN_FLAGS                                                              \
	(BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE | BPULL_DISK_NO_BACKING | \
	 BPULL_DISK_READ_HOLES | BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ | \
	 BPULL_DISK_DIRECT | BPULL_DISK_TRUST_HOLES)

bool options_import(void *dst, size_t dst_len, const void *src)
{
	size_t src_len;

	memset(dst, 0, dst_len);
	if (!src)
		return true;
	memcpy(&src_len, src, sizeof(src_len));
	if (src_len < sizeof(src_len) || src_len > 4096)
		return false;
	for (size_t i = dst_len; i < src_len; i++)
		if (((const uint8_t *)src)[i])
			return false;
	memcpy(dst, src, MIN(src_len, dst_len));
	return true;
}

/* The directory a path's file lies in, symlinks (the file's own too) resolved. */
static char *real_directory(const char *path)
{
	char *real = realpath(path, NULL), *slash;

	if (!real)
		return NULL;
	slash = strrchr(real, '/');
	slash[slash == real] = '\0';
	return real;
}

/* An image that can't be resolved can't be opened either, and that error is the better one: 0. But
 * without its directory because the machine failed, its backing files would be refused as strangers. */
static int cannot_resolve(const char *image, int why, struct err *err)
{
	char name[512];

	if (why == ENOENT || why == ENOTDIR || why == EACCES || why == ELOOP || why == ENAMETOOLONG)
		return 0;
	return err_errno(err, -why, "%s: cannot find its directory",
			 err_escape(image, strlen(image), name, sizeof(name)));
}

static int add_dirs(const struct bpull_disk_options *options, char **dirs, size_t *n,
		    struct err *err)
{
	for (size_t i = 0; i < options->n_allowed_dirs; i++) {
		char name[512];

		dirs[*n] = realpath(options->allowed_dirs[i], NULL);
		if (!dirs[*n])
			return err_errno(err, -errno, "allowed directory %s",
					 err_escape(options->allowed_dirs[i],
						    strlen(options->allowed_dirs[i]), name,
						    sizeof(name)));
		(*n)++;
	}
	return 0;
}

int policy_build(const struct bpull_disk_options *options, const char *image,
		 struct path_policy *policy, struct err *err)
{
	static const enum path_rule rules[] = {
		[BPULL_BACKING_DIRS] = PATH_RULE_TREE,
		[BPULL_BACKING_ANY] = PATH_RULE_ANY,
		[BPULL_BACKING_NONE] = PATH_RULE_NONE,
	};
	char **dirs;
	size_t n = 0;
	int rc;

	*policy = (struct path_policy){ 0 };
	if (options->backing_rule > BPULL_BACKING_NONE)
		return err_set(err, -EINVAL, "unknown backing rule %d", options->backing_rule);
	policy->rule = rules[options->backing_rule];
	if (policy->rule != PATH_RULE_TREE)
		return 0;
	dirs = calloc(options->n_allowed_dirs + 1, sizeof(*dirs));
	if (!dirs)
		return err_set(err, -ENOMEM, "out of memory");
	dirs[n] = real_directory(image);
	rc = dirs[n] ? 0 : cannot_resolve(image, errno, err);
	n += dirs[n] != NULL;
	if (!rc)
		rc = add_dirs(options, dirs, &n, err);
	policy->dirs = (const char *const *)dirs;
	policy->n_dirs = n;
	if (rc)
		policy_free(policy);
	return rc;
}

void policy_free(struct path_policy *policy)
{
	for (size_t i = 0; i < policy->n_dirs; i++)
		free((char *)policy->dirs[i]);
	free((void *)policy->dirs);
	*policy = (struct path_policy){ 0 };
}

bool options_flags_known(uint32_t flags)
{
	const uint32_t both = BPULL_DISK_READ_HOLES | BPULL_DISK_TRUST_HOLES;

	return !(flags & ~(uint32_t)KNOWN_FLAGS) && (flags & both) != both;
}

struct chain_open options_chain(const struct bpull_disk_options *options, const char *image,
				const struct path_policy *policy)
{
	return (struct chain_open){
		.name = image,
		.format = (enum image_format)options->format,
		.backing_format = (enum image_format)options->backing_format,
		.no_backing = options->flags & BPULL_DISK_NO_BACKING,
		.no_lock = options->flags & BPULL_DISK_FORCE_SHARE,
		.holes = options->flags & BPULL_DISK_READ_HOLES    ? FILE_HOLES_READ
			 : options->flags & BPULL_DISK_TRUST_HOLES ? FILE_HOLES_TRUST
								   : FILE_HOLES_AUTO,
		.direct = options->flags & BPULL_DISK_DIRECT,
		.policy = policy,
	};
}
