/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tools/completion/completion.h"

int completion_main(const struct completion_program *program, int argc, char **argv)
{
	static const struct {
		const char *shell;
		void (*print)(const struct completion_program *program);
	} shells[] = { { "bash", bash_print }, { "zsh", zsh_print }, { "fish", fish_print } };

	completion_begin(program);
	for (size_t i = 0; argc == 2 && i < sizeof(shells) / sizeof(shells[0]); i++) {
		if (strcmp(argv[1], shells[i].shell))
			continue;
		shells[i].print(program);
		return fflush(stdout) || ferror(stdout);
	}
	fputs("usage: completion bash|zsh|fish >SCRIPT\n", stderr);
	return 2;
}
