/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A file that is watched, and what others do to it: times, bytes, mappings. */
#ifndef BLOCKPULL_TESTS_WATCH_RIG_H
#define BLOCKPULL_TESTS_WATCH_RIG_H

#include "io/base.h"
#include "io/file/file_watch.h"
#include "io/file/opener.h"

#define FILE_LEN (64 * KiB)

extern struct file_watch *watched_by;
extern struct file *watched_file;
extern const char *watched_name;

struct file *watched_open_file(void);
/* Inodes' times move on in steps of some milliseconds: what follows is to have a later one. */
void watched_let_time_pass(void);
void watched_begin(void);
void watched_end(void);
void watched_set_times(time_t when);
/* As touch(1) does it: through a descriptor that may write. */
void watched_touch(void);
void watched_write_byte(void);
/* The mapping, of a descriptor that is still open. */
int watched_write_mapped(void);
void watched_skip_without_watch(void);
void watched_assert_touched(void);
void watched_assert_changed(void);

#endif
