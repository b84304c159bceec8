/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The forms that names of places have; name.c knows which one a name is in. */
#ifndef TOOLS_NBD_NAMES_FORMS_H
#define TOOLS_NBD_NAMES_FORMS_H

#include "tools/nbd/names/fields.h"
#include "tools/nbd/names/name.h"

/* nbd://, nbd+unix://, nbds://, nbds+unix://, and nbd+tcp://, as QEMU also says for nbd://. */
int nbd_uri_read(const struct nbd_reading *reading, struct nbd_place *place);
/* nbd:HOST:PORT and nbd:unix:PATH. */
int nbd_colon_read(const struct nbd_reading *reading, struct nbd_place *place);
/* json:{...} */
int nbd_json_name_read(const struct nbd_reading *reading, struct nbd_name *name);

/* Refuses a protocol that is not NBD, by its word, which ends at the name's first colon: -ENOTSUP
 * and the sentence that shows how to have it opened all the same. 0: it is no such protocol. */
int nbd_foreign_refuse(const struct nbd_reading *reading);

#endif
