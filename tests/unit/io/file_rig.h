/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Files that the machine's opener opens, or refuses with a sentence. */
#ifndef BLOCKPULL_TESTS_FILE_RIG_H
#define BLOCKPULL_TESTS_FILE_RIG_H

#include <linux/fs.h>
#include <sys/prctl.h>
#include <sys/un.h>

#include "io/file.h"
#include "io/file/opener.h"

#define OPEN(...) (&(struct file_open){ __VA_ARGS__ })

extern struct err open_err;

int try_open(const struct file_open *how, struct file **out);
struct file *must_open(const struct file_open *how);

#endif
