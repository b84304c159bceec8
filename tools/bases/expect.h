/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the content of bases behind a network must be, as users say it: [NAME=]MANIFEST, or in a
 * manifest's place the hash of the whole, for which the base is read once when it is opened. */
#ifndef TOOLS_BASES_EXPECT_H
#define TOOLS_BASES_EXPECT_H

#include <stddef.h>

#include "tools/bases/manifest.h"

struct bpull_base;
struct bpull_open_request;

struct expectation {
	char *name;        /* as images record it; NULL: the only base behind a network. Owned */
	char *file;        /* of the manifest, or the hash, as it was given; owned */
	char *identity;    /* without a name: of the base that it was used for, or NULL; owned */
	uint8_t whole[16]; /* the hash of all, where is_whole */
	int is_whole;
	int is_learned, is_another; /* is_whole: it was read to its end, and has the hash, or not */
	struct manifest manifest;   /* not before is_learned, where is_whole */
	int used;
};

/* Begin with zeros, and free it. One thread at a time. */
struct expectations {
	struct expectation *list;
	size_t n;
	/* The program's: not 0 when it is to end, for a base that is read to its end (-EINTR).
	 * NULL: it has no say. */
	int (*stops)(void);
};

/* Takes one and reads its manifest. 0, or -errno with a sentence. */
int expect_take(struct expectations *expectations, const char *text, struct bpull_error *error);
/* What find_base has found for the request, 0 or more, with or without a base: puts what is
 * expected into the base. Returns `found`; or -errno with a sentence, where the base is none that
 * can be compared, or the wrong one, and then it is closed. */
int expect_apply(struct expectations *expectations, const struct bpull_open_request *request,
		 struct bpull_base *base, int found, struct bpull_error *error);
/* When all was opened. 0, or -ENOENT with a sentence: one is of no base. */
int expect_judge(const struct expectations *expectations, struct bpull_error *error);
void expect_free(struct expectations *expectations);

#endif
