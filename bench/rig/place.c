/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The process that was started only waits: for its child, which measures, or for
 * a signal, which kills the child's group; then it removes the directory. So
 * nothing has to be cleaned up in a signal handler, where nearly nothing may be
 * called, and a child that crashes leaves nothing either. A table of files that
 * a handler unlinks was rejected: what is created while it runs would stay.
 */
#include "bench/rig/place.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/rig/complain.h"
#include "tools/cli/stop.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define REMOVE_TRIES 100

static int place_check_room(const char *dir, uint64_t needed_len)
{
	char needed[SIZE_TEXT_CAP], has[SIZE_TEXT_CAP];
	struct statvfs fs;
	uint64_t free_len;

	if (statvfs(dir, &fs))
		return complain_system(dir);
	free_len = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_len >= needed_len)
		return 0;
	return complain(EXIT_CODE_NO_SPACE,
			"%s has %s free, and this needs %s: choose another place with --dir, "
			"or less data",
			dir, size_text(free_len, has), size_text(needed_len, needed));
}

/* One level; a killed child's last file may appear while this runs. */
static void place_remove(const char *path)
{
	for (int i = 0; i < REMOVE_TRIES; i++) {
		DIR *dir = opendir(path);
		struct dirent *entry;

		while (dir && (entry = readdir(dir)))
			if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2)
				unlinkat(dirfd(dir), entry->d_name, 0);
		if (dir)
			closedir(dir);
		if (!rmdir(path) || errno == ENOENT)
			return;
		usleep(20000);
	}
	complain(EXIT_CODE_FAILED, "%s could not be removed: %s", path, strerror(errno));
}

/* An empty name is no place. */
static void place_remove_both(char paths[2][PATH_MAX])
{
	for (int i = 0; i < 2; i++)
		if (*paths[i])
			place_remove(paths[i]);
}

static _Noreturn void place_wait_and_remove(pid_t child, const sigset_t *signals,
					    char paths[2][PATH_MAX])
{
	int status = 0, stopped_by = 0;
	siginfo_t info;

	while (waitpid(child, &status, WNOHANG) != child) {
		if (sigwaitinfo(signals, &info) < 0 || info.si_signo == SIGCHLD)
			continue;
		stopped_by = info.si_signo;
		kill(-child, SIGKILL);
	}
	kill(-child, SIGKILL); /* what it may have started */
	place_remove_both(paths);
	if (stopped_by) {
		signal(stopped_by, SIG_DFL);
		sigprocmask(SIG_UNBLOCK, signals, NULL);
		raise(stopped_by);
	}
	if (WIFSIGNALED(status))
		complain(EXIT_CODE_FAILED, "ended by a signal: %s", strsignal(WTERMSIG(status)));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_CODE_FAILED);
}

static int place_enter_child(pid_t parent, const char *path, const sigset_t *old_mask)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_CODE_FAILED);
	sigprocmask(SIG_SETMASK, old_mask, NULL);
	return chdir(path) ? complain_system(path) : 0;
}

/* Makes path, below dir. An exit code; path is empty then. */
static int place_make(const char *dir, char path[PATH_MAX])
{
	int len = snprintf(path, PATH_MAX, "%s/blockpull-bench.XXXXXX", dir);
	int code = 0;

	if (len >= PATH_MAX)
		code = complain(EXIT_CODE_FAILED, "the name of the directory is too long");
	else if (!mkdtemp(path))
		code = complain_system(dir);
	if (code)
		*path = 0;
	return code;
}

static int place_make_both(const char *dir, const char *other_dir, char paths[2][PATH_MAX])
{
	char absolute[PATH_MAX];
	int code = place_make(dir, paths[0]);

	*paths[1] = 0;
	if (code || !other_dir)
		return code;
	code = realpath(other_dir, absolute) ? place_make(absolute, paths[1])
					     : complain_system(other_dir);
	if (code)
		place_remove_both(paths);
	return code;
}

int place_enter_two(const char *dir, uint64_t needed_len, const char *other_dir, uint64_t other_len,
		    char other_path[PATH_MAX])
{
	char paths[2][PATH_MAX];
	sigset_t signals, old_mask;
	pid_t parent = getpid();
	pid_t child;
	int code;

	if (!dir)
		dir = getenv("TMPDIR") && *getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
	code = place_check_room(dir, needed_len);
	if (!code && other_dir)
		code = place_check_room(other_dir, other_len);
	if (code)
		return code;
	stop_ends(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, &old_mask);
	code = place_make_both(dir, other_dir, paths);
	if (code)
		return code;
	fflush(NULL);
	child = fork();
	if (!child) {
		strcpy(other_path, *paths[1] ? paths[1] : ".");
		return place_enter_child(parent, paths[0], &old_mask);
	}
	if (child < 0) {
		code = complain_system("fork");
		place_remove_both(paths);
		return code;
	}
	setpgid(child, child); /* in both: either process may be first */
	place_wait_and_remove(child, &signals, paths);
}

int place_enter(const char *dir, uint64_t needed_len)
{
	char nowhere[PATH_MAX];

	return place_enter_two(dir, needed_len, NULL, 0, nowhere);
}

void place_touch_memory(uint64_t len)
{
	struct sysinfo info;
	pid_t child;

	if (!sysinfo(&info) && len > (uint64_t)info.freeram * info.mem_unit / 2)
		len = (uint64_t)info.freeram * info.mem_unit / 2;
	child = fork();
	if (!child) {
		void *mem =
			mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mem != MAP_FAILED)
			memset(mem, 1, len);
		_exit(0);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
}
