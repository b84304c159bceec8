/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The names of a list, and the part of them that is one machine's. */
#ifndef TOOLS_PULL_LIST_H
#define TOOLS_PULL_LIST_H

#include <stdbool.h>

/* Zero it, and free it with name_list_free(). */
struct name_list {
	char *text;   /* owned; the names lie in it */
	char **names; /* owned; never NULL once it was read */
	unsigned n;
};

/* Part idx (from 0) of n parts; n 0: all of it. */
struct shard {
	unsigned idx, n;
};

/* Reads the names of the file at `path`, "-": standard input. Lines; empty ones, those of blanks
 * alone and those that begin with '#' are left out; with `by_null` each name ends with a NUL and
 * none but empty ones is left out. 0, or an exit code after saying what is wrong. */
int name_list_read(struct name_list *list, const char *path, bool by_null);
void name_list_free(struct name_list *list);

/* Takes "I/N". 0, or an exit code after saying what is wrong. */
int shard_parse(struct shard *shard, const char *text);
/* Moves the shard's names, every n-th from idx on, to the front, in order. Returns how many. */
unsigned shard_take(const struct shard *shard, char **names, unsigned n);

#endif
