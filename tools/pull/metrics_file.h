/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The file that a program which watches reads: whole at every moment. */
#ifndef TOOLS_PULL_METRICS_FILE_H
#define TOOLS_PULL_METRICS_FILE_H

#define METRICS_FILE_MAGIC "# HELP blockpull_" /* how a file of ours begins */

/* 0: the path may be replaced, as it has no file, an empty one or one of ours, and so may the name
 * that the file has first. Else an exit code, after saying what is wrong. */
int metrics_file_check(const char *path);

#endif
