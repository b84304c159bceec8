/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options of libblockpull-nbd's one open call, checked. */
#ifndef TOOLS_NBD_OPTIONS_H
#define TOOLS_NBD_OPTIONS_H

struct bpull_error;
struct bpull_nbd_options;

/* 0, or -EINVAL with a sentence. */
int nbd_options_check(const struct bpull_nbd_options *options, struct bpull_error *error);

#endif
