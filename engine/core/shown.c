/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A file's name as it may be printed. */
#include "engine/core/shown.h"

#include <string.h>

#include "io/err.h"
#include "io/file.h"

const char *file_show(const struct file *file, struct shown *shown)
{
	return err_escape(file->name, strlen(file->name), shown->name, sizeof(shown->name));
}
