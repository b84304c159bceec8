/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What stands behind the last colon is a rate if it reads as one: a file whose name ends so is
 * named with a rate behind it. SIGBUS is taken for the whole process, since another one may cut the
 * file between our look at its length and our access.
 */
#include "tools/budget/attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vhost/guard.h"
#include "tools/words/size.h"

/* Cuts the rate off; false: there is none. */
static bool budget_cut_rate(char *text, uint64_t *rate)
{
	char *colon = strrchr(text, ':');
	const char *why;

	if (!colon || size_parse(colon + 1, SIZE_RATE, rate, &why))
		return false;
	*colon = 0;
	return true;
}

int budget_attach(const char *text, struct bpull_engine_options *engine, struct budget **out,
		  char why[BUDGET_WHY_CAP])
{
	char *path = strdup(text);
	uint64_t rate, len;
	void *memory;
	int rc;

	*out = NULL;
	if (!path) {
		snprintf(why, BUDGET_WHY_CAP, "out of memory");
		return -ENOMEM;
	}
	rc = budget_open(path, budget_cut_rate(path, &rate) ? &rate : NULL, out, why);
	free(path);
	if (rc)
		return rc;
	memory = budget_memory(*out, &len);
	if (!guard_install())
		guard_watch_quietly(memory, len, len);
	engine->budget = budget_ask;
	engine->budget_opaque = *out;
	return 0;
}

void budget_detach(struct budget *budget)
{
	uint64_t len;

	if (budget)
		guard_forget(budget_memory(budget, &len));
	budget_close(budget);
}
