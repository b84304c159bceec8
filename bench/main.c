/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench: measures the library on the machine it runs on, beside peers
 * that need nothing installed: a plain copy of the same bytes, raw io_uring on
 * the same file, a limit's own arithmetic. What needs QEMU is bench/run.py's.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/commands.h"
#include "bench/rig/complain.h"
#include "engine/blockpull.h"
#include "tools/cli/stop.h"
#include "tools/words/exit_code.h"

static void main_usage(FILE *out)
{
	fputs("Usage: blockpull-bench COMMAND [OPTION...]\n"
	      "\n"
	      "Measures pulls of backing chains on this machine. Files are made in a directory\n"
	      "of their own (--dir) and removed again, after Ctrl-C too.\n"
	      "\n"
	      "Commands:\n",
	      out);
	for (size_t i = 0; i < bench_verbs_n; i++)
		fprintf(out, "  %-7s %s\n", bench_verbs[i].name, bench_verbs[i].summary);
	fputs("\n"
	      "'blockpull-bench COMMAND --help' lists a command's options.\n"
	      "Exit codes: 0 done, 1 failed, 2 usage, 4 an image is not sound, 5 its content is\n"
	      "wrong, 7 no space, 128+N stopped by a signal.\n",
	      out);
}

static bool main_wants_help(int argc, char **argv)
{
	for (int i = 2; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int main_run(int argc, char **argv)
{
	if (argc < 2) {
		main_usage(stderr);
		return EXIT_CODE_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		main_usage(stdout);
		return EXIT_CODE_DONE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("blockpull-bench %s\n", bpull_version());
		return EXIT_CODE_DONE;
	}
	for (size_t i = 0; i < bench_verbs_n; i++) {
		if (strcmp(argv[1], bench_verbs[i].name))
			continue;
		if (main_wants_help(argc, argv)) {
			fputs(bench_verbs[i].help, stdout);
			return EXIT_CODE_DONE;
		}
		return bench_verbs[i].run(argc - 1, argv + 1);
	}
	return complain_usage(NULL, "unknown command '%s'", argv[1]);
}

int main(int argc, char **argv)
{
	int code;

	stop_prepare();
	code = main_run(argc, argv);

	if (fclose(stdout) && !code)
		code = complain_system("standard output");
	return code;
}
