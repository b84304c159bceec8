/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The one list of verbs. main.c runs them and tools/completion/ makes the shells'
 * completions of them: a verb that is not here is in neither.
 */
#include "tools/commands.h"

#include "tools/chain/verbs.h"
#include "tools/ctl/verbs.h"
#include "tools/images/verbs.h"
#include "tools/pull/flatten.h"
#include "tools/pull/options.h"
#include "tools/serve/options.h"

const struct command help_command = {
	.name = "help",
	.summary = "explain a command",
	.help = "Usage: blockpull help [COMMAND]\n"
		"\n"
		"Lists the commands, or explains one.\n",
};

const struct command *const commands_all[] = {
	&pull_command,     &info_command,    &map_command,    &flatten_command, &measure_command,
	&check_command,    &hash_command,    &verify_command, &create_command,  &resize_command,
	&snapshot_command, &compact_command, &commit_command, &serve_command,   &trace_command,
	&ctl_command,      &help_command,
};

const size_t commands_n = sizeof(commands_all) / sizeof(commands_all[0]);

const struct option commands_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};
