/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of which names consist, each checked in one place for all forms of a name. */
#ifndef TOOLS_NBD_NAMES_FIELDS_H
#define TOOLS_NBD_NAMES_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/blockpull.h"
#include "tools/nbd/names/place.h"

/* What is read: the whole name, for sentences, and the directory from which relative names lead
 * (NULL: from none). */
struct nbd_reading {
	const char *name;
	const char *here;
	struct bpull_error *error;
};

/* "'NAME': ..." with -EINVAL. */
int nbd_bad_name(const struct nbd_reading *reading, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Whether a text holds control characters, or those that reorder or hide text. */
bool nbd_has_control(const char *text);

/* Each sets a field of the place, which is freed with it. 0, or -errno and the sentence. */
int nbd_set_host_port(const struct nbd_reading *reading, struct nbd_place *place, const char *text,
		      size_t len, uint16_t otherwise);
int nbd_set_socket(const struct nbd_reading *reading, struct nbd_place *place, const char *path);
int nbd_set_export(const struct nbd_reading *reading, struct nbd_place *place, const char *name);
/* The path of a file or socket (`what`) as an absolute one, in *path. */
int nbd_make_path(const struct nbd_reading *reading, const char *what, const char *from,
		  char **path);

#endif
