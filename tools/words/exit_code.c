/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The one place where the library's errors become exit codes. Nothing here
 * looks at a message: texts may change, errno values are the contract.
 *
 * sysexits.h was rejected: its 64..78 have no word for "locked" or "corrupt",
 * the two that a script around disk images must tell apart.
 */
#include "tools/words/exit_code.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

int exit_code_of_error(int error)
{
	switch (-error) {
	case 0: return EXIT_CODE_DONE;
	case EBUSY: return EXIT_CODE_BUSY;
	case EUCLEAN: return EXIT_CODE_CORRUPT;
	case EBADMSG: return EXIT_CODE_DIFFERENT;
	case EPERM:
	case ENOTSUP: return EXIT_CODE_REFUSED;
	case ENOSPC:
	case EDQUOT: return EXIT_CODE_NO_SPACE;
	default: return EXIT_CODE_FAILED;
	}
}

const char *exit_code_class(int code)
{
	if (code > EXIT_CODE_SIGNAL)
		return "stopped";
	switch ((enum exit_code)code) {
	case EXIT_CODE_DONE: return "done";
	case EXIT_CODE_FAILED: return "failed";
	case EXIT_CODE_USAGE: return "usage";
	case EXIT_CODE_BUSY: return "busy";
	case EXIT_CODE_CORRUPT: return "corrupt";
	case EXIT_CODE_DIFFERENT: return "different"; /* no JSON line tells of leaks by this */
	case EXIT_CODE_REFUSED: return "refused";
	case EXIT_CODE_NO_SPACE: return "no-space";
	case EXIT_CODE_SIGNAL: break;
	}
	return "failed";
}

static bool exit_code_has_file_limit(void)
{
	struct rlimit limit;
	return !getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY;
}

const char *exit_code_hint(int error)
{
	switch (-error) {
	case EUCLEAN:
		return "work on a copy of the image; 'blockpull check' lists the damage it can "
		       "reach";
	case EIO:
		return "the device, its file system or the server of a base failed: the kernel's "
		       "log (dmesg) or the server's says more; the same command may be run again";
	case EHOSTUNREACH:
		return "see that the server runs and can be reached, then run the same command "
		       "again";
	case ENOSPC:
	case EDQUOT: return "make room, then run the same command again";
	case EFBIG:
		return exit_code_has_file_limit()
			       ? "this process may not make files as large as that: raise the "
				 "limit (ulimit -f), then run the same command again"
			       : NULL;
	default: return NULL;
	}
}
