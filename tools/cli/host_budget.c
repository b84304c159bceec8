/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What stands behind the last colon is a rate if it reads as one: a file whose name ends so is
 * named with a rate behind it. SIGBUS is taken for the whole process, since another one may cut the
 * file between our look at its length and our access.
 */
#include "tools/cli/host_budget.h"

#include <stdlib.h>
#include <string.h>

#include "tools/budget/budget.h"
#include "tools/cli/say.h"
#include "tools/vhost/guard.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

static int host_budget_open_named(char *path, const uint64_t *rate, struct budget **out)
{
	char why[BUDGET_WHY_CAP];
	uint64_t len;
	void *memory;
	int rc = budget_open(path, rate, out, why);

	if (rc) {
		say_error("--host-budget: %s", why);
		return exit_code_of_error(rc);
	}
	memory = budget_memory(*out, &len);
	if (!guard_install())
		guard_watch_quietly(memory, len, len);
	return 0;
}

int host_budget_open(const char *text, struct bpull_engine_options *engine, struct budget **out)
{
	uint64_t rate = 0;
	const char *why;
	char *path, *colon;
	int code;

	*out = NULL;
	if (!text)
		return 0;
	path = strdup(text);
	if (!path) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	colon = strrchr(path, ':');
	if (colon && size_parse(colon + 1, SIZE_RATE, &rate, &why))
		colon = NULL;
	if (colon)
		*colon = 0;
	code = host_budget_open_named(path, colon ? &rate : NULL, out);
	free(path);
	if (!code) {
		engine->budget = budget_ask;
		engine->budget_opaque = *out;
	}
	return code;
}

void host_budget_say(struct budget *budget)
{
	const char *complaint = budget ? budget_complaint(budget) : NULL;

	if (complaint)
		say_note("warning: --host-budget: %s", complaint);
}

void host_budget_close(struct budget *budget)
{
	uint64_t len;

	if (budget)
		guard_forget(budget_memory(budget, &len));
	budget_close(budget);
}
