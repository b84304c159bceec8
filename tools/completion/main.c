/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Makes the completions of bash, zsh and fish while the command is built, out of
 * the tables that the command itself reads its options with. A hidden verb was
 * rejected: the scripts are needed once, where the command is made.
 *
 * usage: completion bash|zsh|fish >SCRIPT
 */
#include "tools/commands.h"
#include "tools/completion/completion.h"

int main(int argc, char **argv)
{
	const struct completion_program program = { "blockpull", "blockpull", commands_all,
						    commands_n, commands_options };

	return completion_main(&program, argc, argv);
}
