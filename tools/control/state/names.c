/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/control/state/names.h"

#include <stdio.h>
#include <string.h>

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

int control_names_take(struct control_names *names, const char *name, char why[CONTROL_WHY_CAP])
{
	if (!control_is_well_formed(name) || strlen(name) >= CONTROL_NODE_NAME_CAP) {
		snprintf(why, CONTROL_WHY_CAP,
			 "'%.60s' is no node's name: a letter, then letters, digits, '-', '.' or "
			 "'_', at most %d",
			 name, CONTROL_NODE_NAME_CAP - 1);
		return -1;
	}
	for (unsigned i = 0; i < names->n; i++)
		if (!strcmp(names->list[i], name)) {
			snprintf(why, CONTROL_WHY_CAP, "'%s' is given twice", name);
			return -1;
		}
	if (names->n == CONTROL_MAX_NAMES) {
		snprintf(why, CONTROL_WHY_CAP, "more than %d names", CONTROL_MAX_NAMES);
		return -1;
	}
	names->list[names->n++] = name;
	return 0;
}
