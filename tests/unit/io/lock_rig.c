/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See lock_rig.h. */
#include "tests/unit/io/lock_rig.h"

#include <fcntl.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"

struct err lock_err;

int lock_open(const char *path, enum file_lock lock, struct file **out)
{
	struct file_opener *opener = file_opener_posix();
	*out = NULL;
	return opener->open(opener,
			    &(struct file_open){ .name = path,
						 .write = lock == FILE_LOCK_OVERLAY,
						 .lock = lock },
			    out, &lock_err);
}

int lock_try(const char *path, enum file_lock lock)
{
	struct file *file;
	int ret = lock_open(path, lock, &file);
	file_close(file);
	return ret;
}

const char *lock_image(const char *name)
{
	static char mib[1 << 20];
	return scratch_file(name, mib, sizeof(mib));
}
