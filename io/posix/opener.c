/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The opener of the machine's own file system: its files (posix/open.c) and its directories
 * (posix/dir.c), which create their files through the former.
 */
#include "io/posix/opener.h"

#include "io/file/opener.h"
#include "io/posix/dir.h"
#include "io/posix/file.h"
#include "io/posix/open.h"

static int open_named(struct file_opener *opener, const struct file_open *how, struct file **out,
		      struct err *err)
{
	return posix_open(how, out, err);
}

static int create_named(struct file_opener *opener, const char *name, struct file **out,
			struct err *err)
{
	return posix_create(name, 0666, out, err);
}

struct file_opener *file_opener_posix(void)
{
	static struct file_opener opener = {
		.open = open_named,
		.create = create_named,
		.open_dir = posix_dir_open,
	};
	return &opener;
}
