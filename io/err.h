/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A caller-owned error: a code and one sentence naming the file, the offset
 * and what to do. Only open, validate and finish fill one; hot paths return
 * -errno. A thread-local message was rejected: it outlives what it describes.
 */
#ifndef BLOCKPULL_ERR_H
#define BLOCKPULL_ERR_H

#include <stddef.h>

struct err {
	int code; /* 0 or -errno */
	char message[1024];
};

/* Fills *err (NULL is allowed) and returns code, so that it can end a function. */
int err_set(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, with ": " and the system's text for -code behind the sentence. */
int err_errno(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Copies `name` into out (cap bytes, always terminated) with control bytes, quotes, backslashes
 * and invalid UTF-8 as \xNN: a name from an image must never reach a terminal raw.
 * Returns out. */
char *err_escape(const char *name, size_t name_len, char *out, size_t cap);

#endif
