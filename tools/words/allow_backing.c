/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A NAME that does not exist (a pool that is not mounted) is not passed to the
 * library, which would warn of it once for each image that it opens.
 */
#include "tools/words/allow_backing.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum bpull_backing_rule allow_backing_rule(const char *text)
{
	if (!strcmp(text, "any"))
		return BPULL_BACKING_ANY;
	return strcmp(text, "none") ? BPULL_BACKING_DIRS : BPULL_BACKING_NONE;
}

bool allow_backing_is_missing(const char *name)
{
	struct stat st;

	return stat(name, &st) && (errno == ENOENT || errno == ENOTDIR);
}
