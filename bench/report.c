/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench report: report.py, which this program carries with it, makes
 * the page. In C it was rejected: it would be three times as long and no faster
 * to any reader. Carried, and not installed beside, because a program that is
 * copied to another machine must still have it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/report_script.h"
#include "bench/rig/complain.h"
#include "tools/words/exit_code.h"

const char report_help[] =
	"Usage: blockpull-bench report FILE.json... >PAGE.html\n"
	"\n"
	"Makes one page, with pictures, of results that were printed with --json: of all\n"
	"commands but stall, compact and commit, and of './tools/dev bench --json'. The page\n"
	"refers to nothing else. Needs python3.\n"
	"\n"
	"Options:\n"
	"  -h, --help         this text\n";

const struct option report_options[] = { { NULL, 0, NULL, 0 } };

int report_main(int argc, char **argv)
{
	char **words;

	if (commands_option(argc, argv, report_options) != -1)
		return EXIT_CODE_USAGE;
	if (optind == argc)
		return complain_usage("report", "the names of results are missing");
	words = calloc((size_t)(argc - optind) + 4, sizeof(*words));
	if (!words)
		return complain_system("memory");
	words[0] = strdup("python3");
	words[1] = strdup("-c");
	words[2] = strdup(report_script);
	for (int i = optind; i < argc; i++)
		words[3 + i - optind] = argv[i];
	execvp(words[0], words);
	return complain_system("python3");
}
