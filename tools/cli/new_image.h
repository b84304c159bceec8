/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a new image is to be like, from the command line. */
#ifndef TOOLS_CLI_NEW_IMAGE_H
#define TOOLS_CLI_NEW_IMAGE_H

#include "engine/blockpull.h"
#include "tools/cli/options.h"

struct new_image {
	struct bpull_create_options options;
	unsigned given_keys; /* bit by enum new_image_key */
};

/* The names. */
extern const struct options_word new_image_keys[];

/* Takes "name=value,name=value"; changes the text. `command` is for messages. 0, or an exit code
 * after saying what is wrong. */
int new_image_take(struct new_image *image, const char *command, char *text);
/* 0: all names have a meaning for the format, where that is known. Else an exit code. */
int new_image_check(const struct new_image *image, const char *command);

#endif
