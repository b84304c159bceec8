/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Images that are opened with a lock. */
#ifndef BLOCKPULL_TESTS_LOCK_RIG_H
#define BLOCKPULL_TESTS_LOCK_RIG_H

#include "io/file.h"
#include "io/file/lock.h"
#include "io/file/opener.h"

extern struct err lock_err;

int lock_open(const char *path, enum file_lock lock, struct file **out);
/* Opens and closes again. */
int lock_try(const char *path, enum file_lock lock);
const char *lock_image(const char *name);

#endif
