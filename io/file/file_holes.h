/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What of a file is believed to be holes. */
#ifndef BLOCKPULL_IO_FILE_HOLES_H
#define BLOCKPULL_IO_FILE_HOLES_H

#include <stdbool.h>
#include <stdint.h>

struct file;
struct file_status;

/* Whose word on holes is taken (--holes). */
enum file_holes {
	FILE_HOLES_AUTO,  /* that of file systems known to tell the truth */
	FILE_HOLES_READ,  /* none: holes are read, too */
	FILE_HOLES_TRUST, /* any: the user knows better */
};

int file_status(struct file *file, uint64_t off, struct file_status *out);
/* Bytes of a hole from `off` on, as a file system tells that is known to tell the truth; 0: no
 * hole, or nothing is known. For an image's own tables: --holes=trust is about raw files. */
uint64_t file_known_hole(struct file *file, uint64_t off);
/* For openers: sets what the file is to believe. known: its file system tells the truth about
 * holes; claims: it says that there are some. */
void file_judge_holes(struct file *file, enum file_holes want, bool known, bool claims);
/* From now on only a file system that is known to tell the truth is believed, whatever was asked
 * for. */
void file_doubt_holes(struct file *file);

#endif
