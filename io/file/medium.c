/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What can't be written to. By no program: devices that are set read-only, and file systems that
 * are mounted so. By this user: files without the permission. Opening such a device for writing may
 * succeed and every write fail (loop devices), so the device is asked when it is opened.
 *
 * Trying a write was rejected: opening a file must not change it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/file.h"
#include "io/file/medium.h"
#include "io/libc.h"

#define MEDIUM_SHOWN 200 /* bytes of a name in a sentence; two fit a message */

bool medium_is_read_only(int fd, bool is_block)
{
	struct statvfs fs;
	int read_only = 0;

	if (is_block)
		return !ioctl(fd, BLKROGET, &read_only) && read_only;
	return !fstatvfs(fd, &fs) && fs.f_flag & ST_RDONLY;
}

/* Of faccessat() only EACCES is the kernel's answer: EPERM may come from a filter of system calls
 * that does not know the call. */
int medium_user_denied(int fd)
{
	struct statx sx;

	if (!libc_statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx) &&
	    sx.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
		return -EPERM;
	if (faccessat(fd, "", W_OK, AT_EACCESS | AT_EMPTY_PATH) && errno == EACCES)
		return -EACCES;
	return 0;
}

int medium_refuse_user(const char *name, int why, struct err *err)
{
	char shown[MEDIUM_SHOWN];

	err_escape(name, strlen(name), shown, sizeof(shown));
	if (why == -EPERM) /* which means "refused by policy" to our callers */
		return err_set(
			err, -EACCES,
			"the system does not allow writing to '%s': it is marked immutable or "
			"append-only (see lsattr)",
			shown);
	return err_set(err, -EACCES,
		       "no permission to write to '%s': change its mode or owner, or run as a user "
		       "who may",
		       shown);
}

int medium_refuse(const char *name, const char *real_name, bool is_block, struct err *err)
{
	char shown[MEDIUM_SHOWN], real[MEDIUM_SHOWN];
	bool moved = is_block && real_name && strcmp(name, real_name) != 0;

	err_escape(name, strlen(name), shown, sizeof(shown));
	err_escape(moved ? real_name : "", moved ? strlen(real_name) : 0, real, sizeof(real));
	if (is_block)
		return err_set(
			err, -EROFS,
			"the block device '%s'%s%s%s is read-only and cannot be written: "
			"make it writable (blockdev --setrw, losetup without -r), or copy the "
			"image elsewhere",
			shown, moved ? " (really '" : "", real, moved ? "')" : "");
	return err_set(err, -EROFS,
		       "'%s' is on a read-only file system and cannot be written: remount it "
		       "writable, or copy the image elsewhere",
		       shown);
}
