/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Text files that take the place of older ones. rename() puts a file in the place of whatever is
 * there, also of a device or an image that was named by mistake. So what is there is looked at
 * first, by the caller, who says what is wrong.
 */
#ifndef TOOLS_WORDS_TEXT_FILE_H
#define TOOLS_WORDS_TEXT_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Does the regular file begin with `magic`? 1: yes, or it holds nothing. 0: no. -errno: it can't be
 * opened. */
int text_file_begins(const char *path, const char *magic);
/* Writes `text` under temp_path and renames it. A reader has the old file or the new one, each of
 * them whole. is_durable: the text is, before it takes the name; the name is the caller's to make
 * so. 0 or -errno: the file is as it was then. A sandbox has to allow it (SANDBOX_REPLACE). */
int text_file_replace(const char *path, const char *temp_path, const char *text, size_t len,
		      bool is_durable);

#endif
