/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The scratch directory, and running programs beside a test. system() was
 * rejected: a shell between us and the argument is one thing more to quote.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/files/scratch.h"

static char scratch_path[PATH_MAX / 2];

void scratch_make(void)
{
	const char *tmp = getenv("TMPDIR");
	char made[PATH_MAX / 2], real[PATH_MAX];

	snprintf(made, sizeof(made), "%s/blockpull-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(made) || !realpath(made, real) || strlen(real) >= sizeof(scratch_path)) {
		perror(made);
		abort();
	}
	strcpy(scratch_path, real);
}

static int scratch_drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void scratch_remove(void)
{
	nftw(scratch_path, scratch_drop, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_dir(void)
{
	return scratch_path;
}

/*
 * Every path stays until the process ends: a ring of a few was given out again under a caller that
 * still held one. Not from malloc(), which some tests let fail.
 */
const char *scratch(const char *name)
{
	static char paths[1 << 20];
	char *path = paths;
	size_t dir_len = strlen(scratch_path);
	for (; *path; path += strlen(path) + 1)
		if (!strncmp(path, scratch_path, dir_len) && !strcmp(path + dir_len + 1, name))
			return path;
	if (dir_len + strlen(name) + 3 > (size_t)(paths + sizeof(paths) - path))
		abort();
	sprintf(path, "%s/%s", scratch_path, name);
	return path;
}

const char *scratch_file(const char *name, const void *bytes, unsigned long len)
{
	const char *path = scratch(name);
	FILE *file = fopen(path, "w");
	if (!len)
		len = strlen(bytes);
	if (!file || fwrite(bytes, 1, len, file) != len || fclose(file)) {
		perror(path);
		abort();
	}
	return path;
}

const char *scratch_filled(const char *name, int byte, unsigned long len)
{
	void *bytes = malloc(len);
	const char *path;

	if (!bytes)
		abort();
	path = scratch_file(name, memset(bytes, byte, len), len);
	free(bytes);
	return path;
}

const char *scratch_numbered(const char *name, unsigned n_mib)
{
	size_t mib = 1 << 20;
	unsigned char *bytes = malloc(n_mib * mib);
	const char *path;

	if (!bytes)
		abort();
	for (unsigned i = 0; i < n_mib; i++)
		memset(bytes + i * mib, (int)i + 1, mib);
	path = scratch_file(name, bytes, n_mib * mib);
	free(bytes);
	return path;
}

unsigned scratch_n_files(void)
{
	DIR *dir = opendir(scratch_path);
	unsigned n = 0;

	if (!dir)
		abort();
	for (struct dirent *e; (e = readdir(dir));)
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(dir);
	return n;
}

int scratch_run(const char *program, ...)
{
	char *argv[32] = { (char *)(size_t)program };
	va_list ap;
	va_start(ap, program);
	for (int i = 1; i < 31 && (argv[i] = va_arg(ap, char *)); i++)
		;
	va_end(ap);

	pid_t pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR);
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		execvp(program, argv);
		_exit(127);
	}
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) == 127)
		return -1;
	return WEXITSTATUS(status);
}
