/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "bench/rig/ends.h"

#include <string.h>

#include "bench/rig/complain.h"
#include "tools/words/exit_code.h"

int ends_of_job(struct bpull_engine *engine, const char *what, int timeout_ms, bool *is_over)
{
	struct bpull_event event;
	int n = bpull_engine_wait(engine, &event, 1, timeout_ms);

	*is_over = false;
	if (n < 0)
		return complain_library(what, NULL, n);
	if (n != 1 || event.type != BPULL_EVENT_JOB || event.status == BPULL_JOB_READY)
		return 0;
	if (event.status != BPULL_JOB_COMPLETED)
		return complain(EXIT_CODE_FAILED, "%s: %s", what, event.message);
	*is_over = true;
	return 0;
}

int ends_wait_job(struct bpull_engine *engine, const char *what)
{
	bool is_over = false;
	int code = 0;

	while (!code && !is_over)
		code = ends_of_job(engine, what, -1, &is_over);
	return code;
}

int ends_copy(const struct copies_job *job)
{
	const char *what = NULL;
	int rc = copies_run(job, &what);

	return rc ? complain(exit_code_of_error(rc), "plain copy: %s: %s", what, strerror(-rc)) : 0;
}
