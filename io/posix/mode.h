/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_IO_POSIX_MODE_H
#define BLOCKPULL_IO_POSIX_MODE_H

#include <sys/types.h>

/* The mode bits of an open file, of 0777: what its owner, its group and all others may do. Where an
 * access list is in force, the bits of the group are those of the list's entry for it, not the mask
 * that stat() shows. 0 or -errno. */
int posix_mode(int fd, mode_t *mode);

#endif
