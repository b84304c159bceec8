/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* New images. */
#ifndef BLOCKPULL_API_CREATE_H
#define BLOCKPULL_API_CREATE_H

#include <stdint.h>

struct bpull_create_options;
struct err;
struct file;

/* Refuses options that images of this format don't have: none is ignored. 0 or -EINVAL. */
int create_check_format(const struct bpull_create_options *o, struct err *err);

/* Writes an empty image of this format into an empty file. 0 or -errno. */
int create_image_in(struct file *file, const struct bpull_create_options *o, uint64_t guest_len,
		    struct err *err);

#endif
