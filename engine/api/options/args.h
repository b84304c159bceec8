/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What each public function does first: it empties *error and refuses a NULL
 * where it needs a pointer. The attribute nonnull was rejected: it lets the
 * compiler drop the check, and a program in another language gets no help.
 */
#ifndef BLOCKPULL_API_ARGS_H
#define BLOCKPULL_API_ARGS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "engine/core/export.h"
#include "io/base.h"

/* Empties *error; error may be NULL. */
static inline void error_begin(struct bpull_error *error)
{
	if (!error)
		return;
	error->code = 0;
	error->remedy = BPULL_REMEDY_NONE;
	error->message[0] = error->remedy_name[0] = '\0';
}

/* True, with *error filled, if the pointer is NULL. name: the parameter's in the public header. */
static inline bool is_missing(const void *pointer, const char *name, struct bpull_error *error)
{
	if (pointer)
		return false;
	error_fill(error, -EINVAL, "%s is NULL, where a pointer is needed", name);
	return true;
}

/* True, with *error filled, if the caller's struct for a result is NULL, or its size is smaller
 * than the first version's. */
static inline bool is_unfit(const void *result, const char *name, size_t first_len,
			    struct bpull_error *error)
{
	if (is_missing(result, name, error))
		return true;
	if (result_fits(result, first_len))
		return false;
	error_fill(error, -EINVAL, "%s has a size that no version of its struct has", name);
	return true;
}

#endif
