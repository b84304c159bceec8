/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Formats that are recognised and not supported. */
#ifndef BLOCKPULL_FORMATS_CORE_FOREIGN_H
#define BLOCKPULL_FORMATS_CORE_FOREIGN_H

#include <stdint.h>

#include "formats/core/layer.h"

/* Bytes of an image that tell its format. */
#define FOREIGN_HEAD_LEN 72u

/* A static half sentence, or NULL: it is none of them. The name is QEMU's. */
const char *foreign_by_head(const uint8_t head[FOREIGN_HEAD_LEN]);
const char *foreign_by_name(const char *name);
/* -ENOTSUP and a sentence that names the format and says what to do. */
int foreign_refuse(const char *shown_name, const char *text, struct err *err);

#endif
