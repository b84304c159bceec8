/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/pull/metrics_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli/say.h"
#include "tools/words/exit_code.h"
#include "tools/words/text_file.h"

/* The name that the file has before it takes its own. */
static int metrics_file_check_temp(const char *path)
{
	char *temp_path = text_file_temp(path);
	int code = 0;

	if (!temp_path) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	if (text_file_judge(temp_path, METRICS_FILE_MAGIC) < 0)
		code = say_usage("pull",
				 "--metrics-file: '%s' is written as '%s' first, and that holds "
				 "something else than metrics of blockpull",
				 path, temp_path);
	free(temp_path);
	return code;
}

int metrics_file_check(const char *path)
{
	struct stat st;

	if (!*path)
		return say_usage("pull", "--metrics-file: a name is missing");
	if (lstat(path, &st))
		return metrics_file_check_temp(path);
	if (!S_ISREG(st.st_mode))
		return say_usage("pull",
				 "--metrics-file: '%s' is no regular file, and would be "
				 "replaced by one",
				 path);
	if (access(path, R_OK))
		return say_usage("pull",
				 "--metrics-file: '%s' can't be looked at before it is replaced: "
				 "%s",
				 path, strerror(errno));
	if (text_file_judge(path, METRICS_FILE_MAGIC) < 0)
		return say_usage("pull",
				 "--metrics-file: '%s' holds something else than metrics "
				 "of blockpull, and would be replaced",
				 path);
	return metrics_file_check_temp(path);
}
