/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which files an image may name. The question is put about the name the kernel
 * gives for the open file, so this is string work and nothing else: no stat,
 * no realpath, nothing that could race. A name that is not in that plain form
 * (relative, with "." or ".." or an empty part) is refused rather than
 * normalised: a caller that passes one has not resolved it.
 *
 * The directory of an image says which plain files belong to it. It says nothing
 * of devices: what shares /dev with an image is other people's disks. So a
 * device is allowed only where the user named it, or a directory that holds it.
 */
#include <string.h>

#include "io/file.h"
#include "io/file/path_policy.h"

/* Absolute, and every component a real name. "/" alone counts. */
static bool is_resolved_name(const char *name)
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

static bool is_below(const char *dir, const char *name)
{
	size_t len = strlen(dir);

	while (len > 0 && dir[len - 1] == '/')
		len--;
	if (dir[0] != '/')
		return false;
	return !strncmp(dir, name, len) && name[len] == '/' && name[len + 1] != '\0';
}

static bool is_in_dirs(const struct path_policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->n_dirs; i++)
		if (is_below(policy->dirs[i], name))
			return true;
	return false;
}

static bool is_named_file(const struct path_policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->n_files; i++)
		if (!strcmp(policy->files[i], name))
			return true;
	return false;
}

static bool is_root(const char *dir)
{
	return !dir[strspn(dir, "/")];
}

bool path_policy_allows(const struct path_policy *policy, const char *real_name, bool is_block)
{
	if (!is_resolved_name(real_name))
		return false;
	switch (policy->rule) {
	case PATH_RULE_ANY: return true;
	case PATH_RULE_NONE: return false;
	case PATH_RULE_TREE:
		if (is_in_dirs(policy, real_name) || is_named_file(policy, real_name))
			return true;
		return !is_block && policy->own_dir && !is_root(policy->own_dir) &&
		       is_below(policy->own_dir, real_name);
	}
	return false; /* no such rule: refuse */
}

bool path_policy_allows_link(const struct path_policy *policy, const char *link_name)
{
	return policy->rule == PATH_RULE_TREE && is_resolved_name(link_name) &&
	       is_in_dirs(policy, link_name);
}
