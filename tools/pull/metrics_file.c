/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/pull/metrics_file.h"

#include <sys/stat.h>

#include "tools/cli/say.h"
#include "tools/words/text_file.h"

int metrics_file_check(const char *path)
{
	struct stat st;

	if (!*path)
		return say_usage("pull", "--metrics-file: a name is missing");
	if (lstat(path, &st))
		return 0;
	if (!S_ISREG(st.st_mode))
		return say_usage("pull",
				 "--metrics-file: '%s' is no regular file, and would be "
				 "replaced by one",
				 path);
	if (text_file_begins(path, METRICS_FILE_MAGIC) <= 0)
		return say_usage("pull",
				 "--metrics-file: '%s' holds something else than metrics "
				 "of blockpull, and would be replaced",
				 path);
	return 0;
}
