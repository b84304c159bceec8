/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which files an image may lead to: a pure decision. */
#ifndef BLOCKPULL_IO_PATH_POLICY_H
#define BLOCKPULL_IO_PATH_POLICY_H

#include <stdbool.h>
#include <stddef.h>

/* Which files an image may name. See "Trust" in docs/architecture.md. */
enum path_rule {
	PATH_RULE_TREE, /* plain files below own_dir, and what `dirs` and `files` name */
	PATH_RULE_ANY,
	PATH_RULE_NONE,
};

/* All names are absolute, symlinks resolved. */
struct path_policy {
	enum path_rule rule;
	const char *own_dir; /* of the image itself: never a device in it, and nothing at all where
				  * this is "/" or NULL (an image on a device has none) */
	const char *const *dirs; /* named by the user: files and devices below them */
	size_t n_dirs;
	const char *const *files; /* single files and devices the user named */
	size_t n_files;
	const char *missing; /* the first that the user named and that is not there, or NULL: allows
			      * nothing, but a refusal tells of it */
};

/* Pure: a file with this absolute, symlink-free name may be opened. */
bool path_policy_allows(const struct path_policy *policy, const char *real_name, bool is_block);
/* Pure: a link of this name, its directory resolved and its last part not, lies in a directory that
 * was named, and so is one of those by which the user allowed devices. */
bool path_policy_allows_link(const struct path_policy *policy, const char *link_name);

#endif
