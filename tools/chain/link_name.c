/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A symbolic link to a file beside it is resolved: one that is called "current" is
 * led to the new image next, and the chain would be a loop. One to a file elsewhere
 * is not: the relative names that an image records lead from where it was opened.
 * Neither is one to a block device: /dev/vg/lv is the name that lasts, /dev/dm-3 is
 * another volume after a boot.
 *
 * Relative names that leave the directory were rejected: they break where the
 * image is moved, as absolute ones do, and where either directory is.
 */
#include "tools/chain/link_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *link_name_last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The directory that a path lies in, without symbolic links; or NULL and errno. Free it. */
static char *link_name_dir_of(const char *path)
{
	const char *last = link_name_last_part(path);
	char *dir = last == path ? strdup(".") : strndup(path, (size_t)(last - path));
	char *real = dir ? realpath(dir, NULL) : NULL;

	free(dir);
	return real;
}

/* Free it. */
static char *link_name_join(const char *front, const char *last)
{
	size_t cap = strlen(front) + strlen(last) + 1;
	char *name = malloc(cap);

	if (name)
		snprintf(name, cap, "%s%s", front, last);
	return name;
}

/* A name with a colon before its first slash is a protocol's. Free it. */
static char *link_name_relative(const char *last)
{
	return link_name_join(strchr(last, ':') ? "./" : "", last);
}

/* The absolute name of a file that is there, by which it is found tomorrow; or NULL and errno. */
static char *link_name_lasting(const char *path)
{
	char *dir = link_name_dir_of(path), *real = realpath(path, NULL);
	char *real_dir = real ? link_name_dir_of(real) : NULL, *name = NULL;

	if (dir && real_dir && !strcmp(dir, real_dir)) {
		name = real;
		real = NULL;
	} else if (dir && real_dir) {
		char *front = link_name_join(dir, dir[1] ? "/" : "");

		name = front ? link_name_join(front, link_name_last_part(path)) : NULL;
		free(front);
	}
	free(dir);
	free(real);
	free(real_dir);
	return name;
}

int link_name_make(const char *upper, const char *lower, char **name, bool *beside,
		   const char **culprit)
{
	char *full = link_name_lasting(lower), *lower_dir = NULL, *upper_dir = NULL;
	int rc = 0;

	*culprit = lower;
	if (full)
		lower_dir = link_name_dir_of(full);
	if (lower_dir) {
		*culprit = upper;
		upper_dir = link_name_dir_of(upper);
	}
	if (upper_dir) {
		*beside = !strcmp(lower_dir, upper_dir);
		*name = *beside ? link_name_relative(link_name_last_part(full)) : strdup(full);
	}
	if (!upper_dir || !*name)
		rc = errno ? -errno : -ENOMEM;
	free(full);
	free(lower_dir);
	free(upper_dir);
	return rc;
}
