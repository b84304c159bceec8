/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The opener of the machine's own file system. */
#ifndef BLOCKPULL_IO_POSIX_OPENER_H
#define BLOCKPULL_IO_POSIX_OPENER_H

struct file_opener;

/* The machine's own file system. Static, stateless. */
struct file_opener *file_opener_posix(void);

#endif
