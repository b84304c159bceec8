/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Links that lead to a block device. The names people give devices (/dev/vg0/lv,
 * /dev/mapper/x, /dev/disk/by-id/y) are links to nodes that are called dm-3 or
 * sdb and change with every boot. So naming a directory of such links allows what
 * is named through one of them. A link to a plain file allows nothing.
 *
 * A link counts only where no other user can have made it: it and its directory
 * are root's or ours, and others may not write there. Such a link stays what it
 * was between two looks. The file it leads to must be the very one that was
 * looked up, so whatever else is swapped on the way changes nothing.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file/dir.h"
#include "io/file/path_policy.h"
#include "io/posix/file.h"
#include "io/posix/link.h"

#define LINKS_MAX 40 /* as the kernel */

/* One name on the way, split where its last part begins. */
struct posix_link {
	int dir_fd;           /* O_PATH; the caller's to close */
	char last[PATH_MAX];  /* the last part, not followed */
	char text[PATH_MAX];  /* where it leads: relative to dir_fd, or absolute */
	char named[PATH_MAX]; /* absolute: the directory resolved, and the last part */
	bool is_kept;         /* no other user can have made it */
};

static int open_dir_of(int from_fd, const char *name, const char *last)
{
	char dir[PATH_MAX];

	if (last == name)
		return openat(from_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(dir, sizeof(dir), "%.*s", (int)(last - name), name);
	return openat(from_fd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static bool is_ours(const struct stat *st)
{
	return !st->st_uid || st->st_uid == geteuid();
}

/* The absolute name; false where /proc can't tell the directory's. */
static bool name_link(struct posix_link *link)
{
	char fd_name[64], dir[PATH_MAX];
	ssize_t n;

	snprintf(fd_name, sizeof(fd_name), "/proc/self/fd/%d", link->dir_fd);
	n = readlink(fd_name, dir, sizeof(dir) - 1);
	if (n <= 0 || n >= (ssize_t)sizeof(dir) - 1 || dir[0] != '/')
		return false;
	dir[n] = '\0';
	n = snprintf(link->named, sizeof(link->named), "%s%s%s", dir, n == 1 ? "" : "/",
		     link->last);
	return n < (ssize_t)sizeof(link->named);
}

/* Looks at one name. False: it is no link, or can't be looked at; the descriptor may be open. */
static bool look_at_link(struct posix_link *link, int from_fd, const char *name)
{
	const char *last = dir_last_part(name);
	struct stat dir_st, st;
	ssize_t n;

	link->dir_fd = -1;
	if (!*last || strlen(name) >= PATH_MAX)
		return false;
	snprintf(link->last, sizeof(link->last), "%s", last);
	link->dir_fd = open_dir_of(from_fd, name, last);
	if (link->dir_fd < 0 || fstat(link->dir_fd, &dir_st) ||
	    fstatat(link->dir_fd, link->last, &st, AT_SYMLINK_NOFOLLOW) || !S_ISLNK(st.st_mode))
		return false;
	n = readlinkat(link->dir_fd, link->last, link->text, sizeof(link->text) - 1);
	if (n <= 0 || n >= (ssize_t)sizeof(link->text) - 1 || !name_link(link))
		return false;
	link->text[n] = '\0';
	link->is_kept = is_ours(&st) && is_ours(&dir_st) && !(dir_st.st_mode & (S_IWGRP | S_IWOTH));
	return true;
}

static bool leads_to(const struct posix_link *link, const struct stat *target)
{
	struct stat st;

	return !fstatat(link->dir_fd, link->last, &st, 0) && st.st_dev == target->st_dev &&
	       st.st_ino == target->st_ino && S_ISBLK(st.st_mode) && st.st_rdev == target->st_rdev;
}

bool posix_link_allowed(const struct path_policy *policy, const char *name,
			const struct stat *target, char link_name[PATH_MAX])
{
	struct posix_link link;
	char next[PATH_MAX];
	int from_fd = AT_FDCWD;
	bool is_allowed = false, go_on = true;

	link_name[0] = '\0';
	for (unsigned i = 0; go_on && !is_allowed && i < LINKS_MAX; i++) {
		go_on = look_at_link(&link, from_fd, i ? next : name) && leads_to(&link, target);
		if (from_fd >= 0)
			close(from_fd);
		from_fd = link.dir_fd;
		if (!go_on)
			break;
		if (link.is_kept && !link_name[0])
			snprintf(link_name, PATH_MAX, "%s", link.named);
		is_allowed = link.is_kept && path_policy_allows_link(policy, link.named);
		memcpy(next, link.text, sizeof(next));
	}
	if (from_fd >= 0)
		close(from_fd);
	return is_allowed;
}
