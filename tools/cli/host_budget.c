/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See host_budget.h. */
#include "tools/cli/host_budget.h"

#include <stddef.h>

#include "tools/budget/attach.h"
#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

int host_budget_open(const char *text, struct bpull_engine_options *engine, struct budget **out)
{
	char why[BUDGET_WHY_CAP];
	int rc;

	*out = NULL;
	if (!text)
		return 0;
	rc = budget_attach(text, engine, out, why);
	if (!rc)
		return 0;
	say_error("--host-budget: %s", why);
	return exit_code_of_error(rc);
}

void host_budget_say(struct budget *budget)
{
	const char *complaint = budget ? budget_complaint(budget) : NULL;

	if (complaint)
		say_note("warning: --host-budget: %s", complaint);
}

void host_budget_close(struct budget *budget)
{
	budget_detach(budget);
}
