/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The eventfd behind io_fd(): readable from wake_signal() until wake_drain().
 * The reader looks for work once more after it drained it, because what arrived
 * before the drain is no longer announced. A pipe was rejected: it fills up.
 */
#ifndef BLOCKPULL_WAKE_H
#define BLOCKPULL_WAKE_H

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A descriptor or -errno. */
static inline int wake_open(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Any thread. The only failure left is a full counter, which is readable already. */
static inline void wake_signal(int fd)
{
	uint64_t one = 1;
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static inline void wake_drain(int fd)
{
	uint64_t count;
	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

#endif
