/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which files an image may name. The question is put about the name the kernel
 * gives for the open file, so this is string work and nothing else: no stat,
 * no realpath, nothing that could race. A name that is not in that plain form
 * (relative, with "." or ".." or an empty part) is refused rather than
 * normalised: whoever passes one has not resolved it.
 */
#include <string.h>

#include "io/file.h"

/* Absolute, and every component a real name. "/" alone counts. */
static bool path_policy_plain(const char *name)
{
	if (name[0] != '/')
		return false;
	for (const char *part = name + 1; *part;) {
		size_t len = strcspn(part, "/");
		if (!len || (len == 1 && part[0] == '.') ||
		    (len == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		part += len;
		if (*part == '/' && part[1] == '\0')
			return false;
		part += *part == '/';
	}
	return true;
}

static bool path_policy_below(const char *dir, const char *name)
{
	size_t len = strlen(dir);

	while (len > 0 && dir[len - 1] == '/')
		len--;
	if (dir[0] != '/')
		return false;
	return !strncmp(dir, name, len) && name[len] == '/' && name[len + 1] != '\0';
}

bool path_policy_allows(const struct path_policy *policy, const char *real_name)
{
	if (!path_policy_plain(real_name))
		return false;
	switch (policy->rule) {
	case PATH_RULE_ANY: return true;
	case PATH_RULE_NONE: return false;
	case PATH_RULE_TREE:
		for (size_t i = 0; i < policy->n_dirs; i++)
			if (path_policy_below(policy->dirs[i], real_name))
				return true;
		return false;
	}
	return false; /* no such rule: refuse */
}
