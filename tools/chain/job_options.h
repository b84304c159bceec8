/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options that compact and commit have of pull: rows, what they take, and what --help says. */
#ifndef TOOLS_CHAIN_JOB_OPTIONS_H
#define TOOLS_CHAIN_JOB_OPTIONS_H

#include "tools/pull/options.h"

#define CHAIN_JOB_OPTIONS                                                                        \
	{ "allow-backing", required_argument, NULL, OPTIONS_ALLOW_BACKING },                     \
		{ "backing-format", required_argument, NULL, OPTIONS_BACKING_FORMAT },           \
		{ "format", required_argument, NULL, 'f' }, OPTIONS_REMOTE, OPTIONS_REMOTE_READ, \
		PULL_JOB_OPTIONS, PULL_OPTIONS, OPTIONS_HELP

/* The list that completions offer, its end included. */
#define CHAIN_JOB_OFFERS PULL_JOB_OFFERS, PULL_OFFERS

/* 0 taken, -1 none of them, else an exit code. */
static inline int chain_job_take(struct pull_options *options, int option, const char *text)
{
	int code = pull_options_take(options, option, text);

	return code < 0 ? pull_job_options_take(options, option, text) : code;
}

/* `own`: lines of what only one of the two has. */
#define CHAIN_JOB_HELP(own)                                                                      \
	"  --bandwidth RATE     at most RATE bytes a second (default 0: no limit)\n"             \
	"  --burst SIZE         bytes that may follow an idle time at once\n"                    \
	"  --iops N             at most N reads and writes a second\n"                           \
	"  --within TIME        be done in TIME (30m), raising the limit where it is late\n"     \
	"  --min-rate RATE      give way to others only above RATE bytes a second\n"             \
	"  --host-budget FILE[:RATE]\n"                                                          \
	"                       as of blockpull pull\n"                                          \
	"  --on-error WHAT      report: an I/O error ends it; stop: it waits for SIGCONT;\n"     \
	"                       enospc: so for want of space only (default: report)\n" own       \
	"  --verify             before a link is changed, read back from the disk what was\n"    \
	"                       copied and compare it (exit 5)\n"                                \
	"  --accept-mixed       go on where a backing file changed under an earlier one\n"       \
	"  --allow-backing DIR  backing files may lie below DIR too, not only below IMAGE's\n"   \
	"                       own directory; repeatable; 'any', 'none' (default:\n"            \
	"                       BLOCKPULL_ALLOW_BACKING)\n"                                      \
	"  --backing-format FMT format of backing files for which none is recorded;\n"           \
	"                       'auto': what they look like; FILE=FMT: of one of them,\n"        \
	"                       repeatable\n" OPTIONS_REMOTE_HELP "  --remote-timeout SECONDS\n" \
	"                       how long a server may be away before it pauses (default "        \
	"300)\n" OPTIONS_TLS_HELP                                                                \
	"  -f, --format FMT     IMAGE's format: raw, qcow2 or qed (default:\n"                   \
	"                       detected)\n"                                                     \
	"  --holes MODE         auto, read or trust\n"                                           \
	"  --io MODE            auto, uring or threads\n" OPTIONS_MEMORY_HELP                    \
	"  --progress MODE      auto, bar, plain, json, qemu or none\n"                          \
	"  --json               the result as a JSON line on stdout\n"                           \
	"  -n, --dry-run        say what would be copied and change nothing\n"                   \
	"  -q, --quiet          only errors\n"                                                   \
	"  --no-sandbox         do without the seccomp filter\n"                                 \
	"  -h, --help           this text\n"

#endif
