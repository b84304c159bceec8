/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What glibc has and musl had not, or has in another way, before its 1.2.5: system calls without a
 * function, by their numbers. They are the same calls with the same errno.
 */
#ifndef IO_LIBC_H
#define IO_LIBC_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef STATX_TYPE
#include <linux/stat.h>
#endif
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#endif

/* By its number with glibc, too, whose function lets the thread be cancelled meanwhile: where there
 * are several threads that takes two locked operations, 50 to 70 ns of the 750 of a cached page.
 * The kernel takes an offset as two longs, of which 64-bit processors leave the second. */
static inline ssize_t libc_preadv2(int fd, const struct iovec *iov, int n_iov, off_t off, int flags)
{
	return syscall(SYS_preadv2, fd, iov, n_iov, (long)off, (long)((uint64_t)off >> 32), flags);
}

#ifdef __GLIBC__
#define libc_statx     statx
#define libc_renameat2 renameat2
#define libc_pwritev2  pwritev2

static inline const char *libc_strerror(int error, char *text, size_t room)
{
	return strerror_r(error, text, room);
}
#else
static inline int libc_statx(int dir_fd, const char *path, int flags, unsigned mask,
			     struct statx *sx)
{
	return (int)syscall(SYS_statx, dir_fd, path, flags, mask, sx);
}

static inline int libc_renameat2(int from_fd, const char *from, int to_fd, const char *to,
				 unsigned flags)
{
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

static inline ssize_t libc_pwritev2(int fd, const struct iovec *iov, int n_iov, off_t off,
				    int flags)
{
	return syscall(SYS_pwritev2, fd, iov, n_iov, (long)off, (long)((uint64_t)off >> 32), flags);
}

/* POSIX's strerror_r() returns an error, and GNU's the sentence. */
static inline const char *libc_strerror(int error, char *text, size_t room)
{
	if (strerror_r(error, text, room))
		snprintf(text, room, "error %d", error);
	return text;
}
#endif

#endif
