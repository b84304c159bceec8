/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A chain drawn as a tree: below each image the link that it has, and the file behind it. */
#ifndef TOOLS_INFO_TREE_H
#define TOOLS_INFO_TREE_H

#include "engine/blockpull.h"

/* Prints it on stdout: one line an image. */
void info_tree_print(const struct bpull_info *info);

#endif
