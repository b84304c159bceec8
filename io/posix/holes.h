/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Block status of files on the machine's own file systems. */
#ifndef BLOCKPULL_IO_POSIX_HOLES_H
#define BLOCKPULL_IO_POSIX_HOLES_H

#include <stdint.h>

#include "io/file/file_holes.h"

struct file;
struct posix_file;

/* file_ops.status */
int posix_holes_status(struct file *file, uint64_t off, struct file_status *out);
/* Sets what the opened file believes of its holes: file_judge_holes(). Devices have none to tell
 * of. */
void posix_holes_judge(struct posix_file *pf, enum file_holes want);

#endif
