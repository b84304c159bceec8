/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A name that is being opened: what it led to, before that becomes a struct file. */
#ifndef BLOCKPULL_IO_POSIX_LOOKUP_H
#define BLOCKPULL_IO_POSIX_LOOKUP_H

#include <sys/stat.h>

#include "io/file.h"

#define POSIX_LOOKUP_SHOWN 400 /* bytes of a name in a sentence; two fit a message */

struct given_use;

struct posix_lookup {
	const struct file_open *how;
	struct stat st; /* of what the name led to */
	char *real_name;
	int path_fd;           /* O_PATH, or -1 */
	int fd;                /* the opened file, or -1 */
	struct given_use *use; /* of a file that the program gave; NULL: it did not */
	char shown[POSIX_LOOKUP_SHOWN];
};

/* Nothing is open yet; `how` stays the caller's. */
void posix_lookup_begin(struct posix_lookup *lookup, const struct file_open *how);
/* Opens what the name leads to, if the policy allows it and it can hold an image. 0 or -errno with
 * a sentence. */
int posix_lookup_open(struct posix_lookup *lookup, struct err *err);
/* Refuses types of files that can hold no image; st is set. 0 or -errno with a sentence. */
int posix_lookup_judge(const struct posix_lookup *lookup, struct err *err);
/* Refuses files that the kernel makes up as they are read. 0 or -errno with a sentence. */
int posix_lookup_refuse_made_up(const struct posix_lookup *lookup, struct err *err);
/* *st is of the file that was looked up. */
bool posix_lookup_is_same(const struct posix_lookup *lookup, const struct stat *st);
/* Closes and frees what the caller has not taken out. */
void posix_lookup_drop(struct posix_lookup *lookup);

/* open(), again where a signal ended it: over FUSE or a network one may. -1 and errno. */
int posix_open_fd(const char *name, int flags, mode_t mode);
/* Opens the very file that fd has open once more, by way of /proc. -1 and errno. */
int posix_reopen(int fd, int flags);

#endif
