/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A filter of system calls sees no names, and a second process that opens files
 * for this one would have to do all that the library does to a new image: its
 * temporary name, its directory's fsync, what a link leads to. The kernel's own
 * check of names does for it.
 */
#include "tools/cli/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the oldest headers that we build with. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define ALL_OF_ABI_1 ((1ULL << 13) - 1)

static int confine_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 0 ? -errno : (int)abi;
}

int confine_begin(struct confine *confine)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = ALL_OF_ABI_1 };
	int abi = confine_abi();

	confine->fd = -1;
	if (abi < 0)
		return abi;
	/* Below version 2 a file never gets from one directory into another, as is wanted. */
	if (abi >= 2)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	confine->handled = attr.handled_access_fs;
	confine->fd =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	return confine->fd < 0 ? -errno : 0;
}

static uint64_t confine_access(unsigned what, bool is_dir)
{
	uint64_t access = 0;

	if (what & CONFINE_READ)
		access |= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	if (what & CONFINE_WRITE)
		access |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;
	if (what & CONFINE_FILES)
		access |= LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
	if (what & CONFINE_SOCKETS)
		access |= LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE;
	/* A rule on a file has no rights of directories. */
	return is_dir ? access
		      : access & (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
				  LANDLOCK_ACCESS_FS_TRUNCATE);
}

int confine_allow(struct confine *confine, const char *path, unsigned what)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = open(path, O_PATH | O_CLOEXEC) };
	struct stat st;
	int rc = 0;

	if (rule.parent_fd < 0)
		return 0;
	if (fstat(rule.parent_fd, &st))
		rc = -errno;
	rule.allowed_access = confine_access(what, !rc && S_ISDIR(st.st_mode)) & confine->handled;
	if (!rc && rule.allowed_access &&
	    syscall(SYS_landlock_add_rule, confine->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		rc = -errno;
	close(rule.parent_fd);
	return rc;
}

static bool confine_is_alone(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n == 1;
}

int confine_close(struct confine *confine)
{
	int rc = confine_is_alone() ? 0 : -EBUSY;

	if (!rc && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		rc = -errno;
	if (!rc && syscall(SYS_landlock_restrict_self, confine->fd, 0))
		rc = -errno;
	close(confine->fd);
	confine->fd = -1;
	return rc;
}
