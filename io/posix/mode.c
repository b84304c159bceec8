/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/posix/mode.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* As the kernel gives an access list: a version, then entries. */
struct posix_acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[64];
};

#define ACL_VERSION_2 2
#define ACL_TAG_GROUP 0x04
#define ACL_TAG_MASK  0x10

int posix_mode(int fd, mode_t *mode)
{
	struct posix_acl acl;
	struct stat st;
	unsigned group = 0, mask = 7;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	*mode = st.st_mode & 0777;
	n = fgetxattr(fd, "system.posix_acl_access", &acl, sizeof(acl));
	if (n < 0 && errno != ERANGE)
		return 0;
	*mode &= ~(mode_t)0070; /* until it is known */
	if (n < (ssize_t)sizeof(acl.version) || le32toh(acl.version) != ACL_VERSION_2)
		return 0;
	for (size_t i = 0; i < ((size_t)n - sizeof(acl.version)) / sizeof(acl.entries[0]); i++) {
		if (le16toh(acl.entries[i].tag) == ACL_TAG_GROUP)
			group = le16toh(acl.entries[i].perm) & 7;
		if (le16toh(acl.entries[i].tag) == ACL_TAG_MASK)
			mask = le16toh(acl.entries[i].perm) & 7;
	}
	*mode |= (group & mask) << 3;
	return 0;
}
