/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Makes the completions of bash, zsh and fish while the command is built, out of
 * the tables that the command itself reads its options with. A hidden verb was
 * rejected: the scripts are needed once, where the command is made.
 *
 * usage: completion bash|zsh|fish >SCRIPT
 */
#include <stdio.h>
#include <string.h>

#include "tools/completion/completion.h"

int main(int argc, char **argv)
{
	static const struct {
		const char *shell;
		void (*print)(void);
	} shells[] = { { "bash", bash_print }, { "zsh", zsh_print }, { "fish", fish_print } };

	for (size_t i = 0; argc == 2 && i < sizeof(shells) / sizeof(shells[0]); i++) {
		if (strcmp(argv[1], shells[i].shell))
			continue;
		shells[i].print();
		return fflush(stdout) || ferror(stdout);
	}
	fputs("usage: completion bash|zsh|fish >SCRIPT\n", stderr);
	return 2;
}
