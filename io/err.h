/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A caller-owned error: a code and one sentence naming the file, the offset
 * and what to do. Only open, validate and finish fill one; hot paths return
 * -errno. A thread-local message was rejected: it outlives what it describes.
 */
#ifndef BLOCKPULL_ERR_H
#define BLOCKPULL_ERR_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

/* What would let a refused call pass, as data: each program has its own words for asking for that.
 * The numbers are those of enum bpull_remedy, which explains them. */
enum err_remedy {
	ERR_REMEDY_NONE,
	ERR_REMEDY_ALLOW_BACKING,
	ERR_REMEDY_FORCE_SHARE,
	ERR_REMEDY_READ_HOLES,
	ERR_REMEDY_ACCEPT_MIXED,
	ERR_REMEDY_REPAIR,
	ERR_REMEDY_CUT_TAIL,
	ERR_REMEDY_BACKING_FORMAT,
	ERR_REMEDY_COMPRESSION,
	ERR_REMEDY_LIST_CHAIN,
	ERR_REMEDY_TRUST_BACKING,
	ERR_REMEDY_CLOSE_DISK,
};

struct err {
	int code; /* 0 or -errno */
	enum err_remedy remedy;
	char message[1024];
	/* ALLOW_BACKING: what is to be allowed; COMPRESSION: the type; BACKING_FORMAT: a file, or
	 * empty; TRUST_BACKING: FILE=FORMAT. Escaped. */
	char remedy_name[256];
};

/* There is no space, or a quota is used up: making room mends it. A job with ON_ERROR_ENOSPC stops
 * for that. */
static inline bool err_is_no_space(int code)
{
	return code == -ENOSPC || code == -EDQUOT;
}

/* A file can't grow: there is no space, or the file is as long as the process or its file system
 * lets it be (-EFBIG), which making room does not mend. Nothing was written wrongly, so the write
 * may be tried again: a commit stalls at it, and poisons no disk. */
static inline bool err_cannot_grow(int code)
{
	return err_is_no_space(code) || code == -EFBIG;
}

/* Fills *err (NULL is allowed) and returns code, so that it can end a function. */
int err_set(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, with ": " and the system's text for -code behind the sentence. */
int err_errno(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Adds a remedy to a filled *err (NULL is allowed); name NULL: it has none. Returns code. */
int err_remedy(struct err *err, int code, enum err_remedy remedy, const char *name);

/* "KIND of 'NAME': " in front of what went wrong with it, and `more` behind it, the remedy kept.
 * Returns code. */
int err_wrap(struct err *err, int code, const struct err *cause, const char *kind, const char *name,
	     const char *more);

/* Copies `name` into out (cap bytes, always terminated) with control bytes, quotes, backslashes
 * and invalid UTF-8 as \xNN: a name from an image must never reach a terminal raw.
 * Returns out. */
char *err_escape(const char *name, size_t name_len, char *out, size_t cap);

#endif
