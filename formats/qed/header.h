/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading and rewriting the header. */
#ifndef BLOCKPULL_FORMATS_QED_HEADER_H
#define BLOCKPULL_FORMATS_QED_HEADER_H

#include <stdint.h>

#include "io/base.h"

struct err;
struct qed;

/* Changes features and autoclear bits on disk, durably, and then here. 0 or -errno. */
int qed_rewrite_header(struct qed *q, uint64_t features, uint64_t autoclear, struct err *err);

/* `name`, in all of these: the image's, as it may be printed. */

/* Reads the header into q->header and checks its length and magic. 0 or -errno with a sentence. */
int qed_read_header(struct qed *q, const char *name, struct err *err);

/* Takes the sizes from the header and checks them. 0 or -errno with a sentence. */
int qed_parse_geometry(struct qed *q, const char *name, struct err *err);

/* Takes the disk's length and the L1 table's place from the header and checks them. 0 or -errno
 * with a sentence. */
int qed_check_ranges(struct qed *q, const char *name, struct err *err);

/* Reads the recorded name of the backing file. 0 or -errno with a sentence. */
int qed_read_backing_name(struct qed *q, const char *name, struct err *err);

#endif
