/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Recorded names of backing and data files. */
#ifndef BLOCKPULL_FORMATS_CHAIN_NAME_H
#define BLOCKPULL_FORMATS_CHAIN_NAME_H

#include <stdbool.h>

struct err;

#define CHAIN_NAME_SHOWN 300 /* bytes of a name in a sentence; three fit a message */

/* A name as it may be printed in a sentence of a chain. Returns shown. */
const char *chain_name_show(const char *name, char shown[CHAIN_NAME_SHOWN]);

/* It has control characters: no file or server is looked for by such a name. */
bool chain_name_has_control(const char *name);

/* Recorded in an image, it can only be taken for the name of a file, not for a protocol. */
bool chain_name_is_plain(const char *name);

/* What a recorded name is the name of, and how a better one is recorded. */
struct chain_name_use {
	const char *what, *remedy;
};

extern const struct chain_name_use chain_backing_use, chain_data_use;

/* The name as recorded in an image opened as `image_name`, made usable: absolute names and "file:"
 * handled (a relative one leads from `here`; NULL: from the process's directory), other relative
 * ones joined to the image's directory. The policy is not asked. -ENOTSUP with a sentence for
 * protocols, json: and control bytes, -EUCLEAN for empty names. *out is malloc'd. Pure. */
int chain_name_path(const char *image_name, const char *recorded, const struct chain_name_use *use,
		    const char *here, char **out, struct err *err);
/* The same for a backing file, from the process's directory. */
int chain_backing_path(const char *image_name, const char *recorded, char **out, struct err *err);
/* Where a relative name behind "file:" leads from, to be added to a sentence about a file that was
 * not found; else "". */
const char *chain_name_where(const char *recorded);

#endif
