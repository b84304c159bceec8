/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a process may still open files when it must go on opening some
 * (Landlock). It is for programs that are asked for new files while they run;
 * all others close sandbox.c's filter, which opens none.
 */
#ifndef TOOLS_CLI_CONFINE_H
#define TOOLS_CLI_CONFINE_H

#include <stdint.h>

#include "engine/blockpull.h"

/* What may be done with a file, or with all below a directory; or'ed. */
enum confine_what {
	CONFINE_READ = 1,
	CONFINE_WRITE = 2, /* to files that are there */
	CONFINE_FILES = 4, /* make regular files, and remove and rename them; with the two above */
	CONFINE_SOCKETS = 8, /* make sockets, and remove any file */
};

struct confine {
	int fd;           /* the rules; -1: none */
	uint64_t handled; /* what this kernel can forbid */
};

/* Nothing is allowed yet. -ENOSYS or -EOPNOTSUPP: the kernel can't do it; other -errno. */
int confine_begin(struct confine *confine);
/* A name that does not exist, or can't be opened, allows nothing. 0 or -errno: the kernel refuses
 * the rule. */
int confine_allow(struct confine *confine, const char *path, unsigned what);
/* Closes it for this thread and all that it starts: opens of any other file, and names that are
 * made or removed elsewhere, fail with EACCES. What is open stays so. -EBUSY: other threads run
 * already, which would not be confined. 0 or -errno; the rules are gone either way. */
int confine_close(struct confine *confine);

#endif
