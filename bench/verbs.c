/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The table that main.c runs and completion.c describes to shells. */
#include "bench/commands.h"

const struct bench_verb bench_verbs[] = {
	{ "pull", pull_main, "pulls beside a plain copy of the same bytes", pull_help, pull_options,
	  false },
	{ "guest", guest_main, "a guest's requests beside raw io_uring, with and without a pull",
	  guest_help, guest_options, false },
	{ "limit", limit_main, "pulls under a limit: how exactly is it kept", limit_help,
	  limit_options, false },
	{ "stall", stall_main, "a guest's reads while another disk is opened, started or closed",
	  stall_help, stall_options, false },
	{ "boot", boot_main, "a boot over a far base, without and with the hot blocks first",
	  boot_help, boot_options, false },
	{ "cold", cold_main, "pulls of a base that is not cached, beside its device", cold_help,
	  cold_options, false },
	{ "fanout", fanout_main, "many overlays on one base: how often is it read", fanout_help,
	  fanout_options, false },
	{ "compact", compact_main, "two files of a chain made one, beside QEMU's job", compact_help,
	  merge_options + 1, false },
	{ "commit", commit_main, "an image written into the file below, beside QEMU's job",
	  commit_help, merge_options, false },
	{ "report", report_main, "an HTML page from results", report_help, report_options, true },
};
const size_t bench_verbs_n = sizeof(bench_verbs) / sizeof(bench_verbs[0]);

const struct option bench_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};
