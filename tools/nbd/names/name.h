/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A name that an image records of its backing file, read. It may be hostile: what is not exactly
 * one of the forms below is refused, with a sentence that names what is wrong.
 *
 *     nbd://HOST[:PORT][/EXPORT], nbd+unix:///[EXPORT]?socket=PATH, and nbds for TLS
 *     nbd:HOST:PORT[:exportname=EXPORT], nbd:unix:PATH[:exportname=EXPORT]
 *     json:{...}: raw, qcow2 or qed over nbd or file
 *
 * Nothing is looked up, resolved or opened here.
 */
#ifndef TOOLS_NBD_NAMES_NAME_H
#define TOOLS_NBD_NAMES_NAME_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "tools/nbd/names/place.h"

enum nbd_name_kind {
	NBD_NAME_OTHER = 0, /* none of ours: a path, or what the library refuses */
	NBD_NAME_PLACE = 1,
	NBD_NAME_FILE = 2, /* a file's path, which json: named */
};

struct nbd_name {
	enum nbd_name_kind kind;
	struct nbd_place place;   /* of PLACE */
	char *path;               /* of FILE: absolute */
	enum bpull_format format; /* what json: says that it is; UNKNOWN: the name says nothing */
};

/* Reads a name. `here` is the absolute directory from which a relative socket and a relative file
 * in json: lead, as in QEMU the one that the process runs in; NULL: such a name is refused.
 * 0, and *name is to be freed; or -errno and the sentence in *error (never NULL): -ENOTSUP a
 * protocol or a thing that is not taken from a name, -EINVAL a name that is not in its form,
 * -ENOMEM. Any thread. */
int nbd_name_read(const char *recorded, const char *here, struct nbd_name *name,
		  struct bpull_error *error);
void nbd_name_free(struct nbd_name *name);

#define NBD_NAME_TEXT_CAP 1024 /* bytes of a sentence */

/* Whether QEMU can't read an image that records this name, though we can: with the sentence for a
 * warning where a verb is about to write the name. */
bool nbd_name_warn_of_qemu(const char *recorded, char text[NBD_NAME_TEXT_CAP]);

#endif
