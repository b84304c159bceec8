/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Files that the program opens (file_open.giver). */
#ifndef BLOCKPULL_IO_POSIX_GIVEN_H
#define BLOCKPULL_IO_POSIX_GIVEN_H

struct err;
struct posix_lookup;

/* As posix_lookup_open(), by how->giver: no name is opened, and the giver is the policy. */
int posix_given_open(struct posix_lookup *lookup, struct err *err);
/* A second description for the locks, or -1: they stay with the first. */
int posix_given_lock_fd(const struct posix_lookup *lookup);

#endif
