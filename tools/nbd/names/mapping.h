/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * --map-backing NAME=TARGET: what is opened for a name that an image records. The name in the image
 * stays. The target is the operator's word, and allowed by that. NAME is compared byte by byte with
 * what is recorded; a = in it is written ==.
 */
#ifndef TOOLS_NBD_NAMES_MAPPING_H
#define TOOLS_NBD_NAMES_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/blockpull.h"
#include "tools/nbd/names/name.h"
#include "tools/nbd/names/policy.h"

struct nbd_mapping {
	char *name;             /* as images record it */
	struct nbd_name target; /* a PLACE or a FILE */
	unsigned used;          /* 1 once it was found; read and written atomically */
};

/* Begin with zeros. Once it is filled, any thread may find. */
struct nbd_mappings {
	struct nbd_mapping *list; /* owned */
	size_t n;
};

/* Takes one NAME=TARGET. The target is a place in one of the forms of nbd_name_read(), or a
 * file's name; `here`: as there, for a relative one. 0, or -EINVAL (a NAME that was given before
 * too), -ENOTSUP, -ENOMEM and a sentence that begins with the text. */
int nbd_mappings_add(struct nbd_mappings *mappings, const char *text, const char *here,
		     struct bpull_error *error);
/* The mapping of a name, which counts as used from then on, or NULL. */
const struct nbd_mapping *nbd_mappings_find(const struct nbd_mappings *mappings,
					    const char *recorded);
/* The name of the first one from *at on that was never found, with *at behind it; NULL: no more. */
const char *nbd_mappings_unused(const struct nbd_mappings *mappings, size_t *at);
void nbd_mappings_free(struct nbd_mappings *mappings);

/* What is opened for a name. */
struct nbd_choice {
	struct nbd_name name; /* OTHER: the name as it is, by the library */
	bool is_operators;    /* named by a mapping: no policy is asked, of addresses neither */
};

/* Mapping, reading and the first question to the policy in one. 0, and the choice is to be freed
 * (nbd_name_free() of its name); -EPERM the policy refuses it by the name alone; else as
 * nbd_name_read(). A PLACE that is not the operator's is asked for again as policy.h says. */
int nbd_choose(const struct nbd_policy *policy, const struct nbd_mappings *mappings,
	       const char *recorded, const char *here, struct nbd_choice *choice,
	       struct bpull_error *error);

#endif
