/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What forbids that an opened file joins a chain: the chain, or another one, has it already. */
#ifndef BLOCKPULL_FORMATS_CHAIN_IDENTITY_H
#define BLOCKPULL_FORMATS_CHAIN_IDENTITY_H

#include <stdbool.h>

#include "io/base.h"

struct err;
struct file;
struct layer_set;
struct layer_want;

/* Both are open on the same file, or read from the same source. */
bool identity_is_same(const struct file *a, const struct file *b);
/* Refuses a file that want->above, or another chain of the set, has in a way that forbids it:
 * -ELOOP or -EBUSY with a sentence. */
int identity_check(const struct layer_set *set, const struct layer_want *want,
		   const struct file *file, struct err *err);
/* Refuses, with -EINVAL, a file of a descriptor that the program gave for a file in use already.
 * Closing the descriptor would end that file, so file->fd is -1 then. */
int identity_check_given(const struct layer_set *set, const struct layer_want *want,
			 struct file *file, struct err *err);

#endif
