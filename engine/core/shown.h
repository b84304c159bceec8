/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A file's name as it may be printed. */
#ifndef BLOCKPULL_CORE_SHOWN_H
#define BLOCKPULL_CORE_SHOWN_H

struct file;

struct shown {
	char name[512];
};

/* A file's name as it may be printed. */
const char *file_show(const struct file *file, struct shown *shown);

#endif
