/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The sandbox that a command closes behind its open files (seccomp). It is the
 * command's business, never the library's: an embedder has filters of its own.
 */
#ifndef TOOLS_CLI_SANDBOX_H
#define TOOLS_CLI_SANDBOX_H

#include <stdbool.h>

/* What a command still has to do to names, or'ed. Nothing else ever is allowed to. */
enum sandbox_names {
	SANDBOX_NO_NAMES = 0,
	SANDBOX_UNLINK = 1, /* take away its control socket, or a file it began */
	SANDBOX_RENAME = 2, /* give a new file its name */
	/* Write a new file, never one that exists, and give it the name of an old one. */
	SANDBOX_REPLACE = 4,
	/* Open files and make them, where confine.h lets it. With SANDBOX_RENAME and _UNLINK. */
	SANDBOX_CONFINED = 16,
	SANDBOX_GUEST = 8, /* no name, but descriptors: share memory with a virtual machine */
	/* A file that is read again after it was written to is watched again. */
	SANDBOX_WATCH = 32,
};

/* --no-sandbox: sandbox_enter() does nothing from here on. */
void sandbox_disable(void);
/* So it is, or it was not built in. */
bool sandbox_is_disabled(void);

/* Has sandbox_enter() call all_open(opaque) first, once, and, if `keep`, leave messages over
 * sockets that are open by then; a later call replaces an earlier one. True: a sandbox will close
 * behind which nothing can be connected to. Main thread. */
bool sandbox_keep_network(void (*all_open)(void *opaque), void *opaque, bool keep);

/* Closes the sandbox around the whole process, all its threads, for good. Call it when all files
 * are open. Where the kernel refuses it or it was not built in, things go on without: it guards
 * against what should not happen, and no pull may fail for want of that. Main thread. */
void sandbox_enter(unsigned names);

#endif
