/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Running QEMU's tools. The shell is welcome here: commands come from tests
 * and name files in a scratch directory only. A JSON parser was rejected for
 * the few flat keys that tests ask for.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/support/files/qemu_img.h"

bool qemu_img_installed(void)
{
	return !qemu_img_run(NULL, 0, "qemu-img --version") &&
	       !qemu_img_run(NULL, 0, "qemu-io --version");
}

int qemu_img_run(char *out, size_t cap, const char *format, ...)
{
	char command[4096], rest[4096];
	size_t got = 0;
	va_list args;
	FILE *pipe;
	int status, n;

	va_start(args, format);
	n = vsnprintf(command, sizeof(command) - 8, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(command) - 8)
		abort();
	strcat(command, " 2>&1");
	pipe = popen(command, "r");
	if (!pipe)
		abort();
	if (cap)
		got = fread(out, 1, cap - 1, pipe);
	while (fread(rest, 1, sizeof(rest), pipe))
		;
	if (cap)
		out[got] = 0;
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

long long qemu_img_number(const char *json, const char *key, long long missing)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(json, quoted);
	return at ? strtoll(at + strlen(quoted), NULL, 10) : missing;
}
