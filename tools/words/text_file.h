/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Text files that take the place of older ones. rename() puts a file in the place of whatever is
 * there, also of a device or an image that was named by mistake. So what is there is looked at
 * first, by the caller, who says what is wrong. The name that a text has before it is renamed is
 * looked at in the same way: it may be another file's, too.
 */
#ifndef TOOLS_WORDS_TEXT_FILE_H
#define TOOLS_WORDS_TEXT_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* 1: the regular file begins with `magic`, or holds nothing. 0: neither. -errno: it can't be
 * opened. */
int text_file_begins(const char *path, const char *magic);
/* Looks at what has this name. 0: nothing that can be seen. 1: a regular file that begins with
 * `magic` or holds nothing. -EEXIST: something else, which must stay. */
int text_file_judge(const char *path, const char *magic);
/* The name that a text has before it is renamed to `path`. The caller frees it; NULL: no memory. */
char *text_file_temp(const char *path);
/* Writes `text` under temp_path, where nothing may be, and renames it. A reader has the old file or
 * the new one, each of them whole. What a killed process left is the caller's to judge and to
 * remove, once, before the first call. is_durable: the text is, before it takes the name; the name
 * is the caller's to make so. 0 or -errno: the file is as it was then. A sandbox has to allow it
 * (SANDBOX_REPLACE). */
int text_file_replace(const char *path, const char *temp_path, const char *text, size_t len,
		      bool is_durable);

#endif
