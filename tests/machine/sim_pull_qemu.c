/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See sim_pull_qemu.h. */
#include "tests/machine/sim_pull_qemu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/machine/files/sim_private.h"

/* The exit status; output is thrown away. */
static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...)
{
	char command[2048];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_want(const struct sim_chain *chain, const char *dir)
{
	char path[300];
	FILE *out;

	snprintf(path, sizeof(path), "%s/want", dir);
	out = sim_need(fopen(path, "w"));
	if (fwrite(chain->want, 1, chain->guest_len, out) != chain->guest_len || fclose(out))
		abort();
}

void sim_pull_qemu(const struct sim_chain *chain, struct sim *sim, const char *dir,
		   struct sim_verdict *v, bool *ran)
{
	const char *format = format_name(chain->how.format);
	char path[300];
	int rc;

	*v = (struct sim_verdict){ .ok = true };
	*ran = !run("qemu-img --version >/dev/null 2>&1");
	if (!*ran)
		return;
	for (unsigned i = 0; i < chain->n_files; i++) {
		if (!sim_file_exists(sim, chain->files[i].name)) /* dropped, and removed since */
			continue;
		snprintf(path, sizeof(path), "%s%s", dir, chain->files[i].name);
		if (sim_file_to_host(sim, chain->files[i].name, path))
			abort();
	}
	snprintf(path, sizeof(path), "%s%s", dir, chain->data.name);
	if (chain->data.name[0] && sim_file_to_host(sim, chain->data.name, path))
		abort();
	write_want(chain, dir);
	rc = run("cd %s && qemu-img check -q -f %s top >check.txt 2>&1", dir, format);
	if (rc != 0 && rc != 3)
		sim_verdict_wrong(v, "qemu-img check says %d: see %s/check.txt", rc, dir);
	rc = run("cd %s && qemu-img compare -q -f %s -F raw top want >compare.txt 2>&1", dir,
		 format);
	if (rc)
		sim_verdict_wrong(v, "qemu-img compare says %d: see %s/compare.txt", rc, dir);
}
