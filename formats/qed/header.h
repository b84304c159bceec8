/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading and rewriting the header. */
#ifndef BLOCKPULL_FORMATS_QED_HEADER_H
#define BLOCKPULL_FORMATS_QED_HEADER_H

#include <stdint.h>

#include "io/base.h"

struct err;
struct file;
struct qed;

/* Changes features and autoclear bits on disk, durably, and then here. 0 or -errno. */
int qed_rewrite_header(struct qed *q, uint64_t features, uint64_t autoclear, struct err *err);

struct header_name {
	char text[512]; /* the file's name, escaped */
};

/* The image's name, escaped, for messages of this folder. */
void qed_header_name_init(struct header_name *name, const struct file *file);

/* The header into q->header, its fields that need no other checked. 0 or -errno with a sentence. */
int qed_read_header(struct qed *q, const struct header_name *name, struct err *err);

/* Sizes from the header, checked. 0 or -errno with a sentence. */
int qed_parse_geometry(struct qed *q, const struct header_name *name, struct err *err);

/* Refuses tables and names outside the file. 0 or -errno with a sentence. */
int qed_check_ranges(struct qed *q, const struct header_name *name, struct err *err);

/* The recorded name of the backing file. 0 or -errno with a sentence. */
int qed_read_backing_name(struct qed *q, const struct header_name *name, struct err *err);

#endif
