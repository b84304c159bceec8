/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See file_rig.h. */
#include "tests/unit/io/file_rig.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/prctl.h>
#include <sys/un.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"

struct err open_err;

int try_open(const struct file_open *how, struct file **out)
{
	struct file_opener *opener = file_opener_posix();
	*out = NULL;
	open_err = (struct err){ 0 };
	return opener->open(opener, how, out, &open_err);
}

struct file *must_open(const struct file_open *how)
{
	struct file *file;
	cr_assert_eq(try_open(how, &file), 0, "%s", open_err.message);
	return file;
}
