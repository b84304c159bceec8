/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The list of system calls that are left when the files are open: those on
 * descriptors, memory, time, signals and threads. What else is tried fails with
 * EPERM, since a C library may try much and does without; what only an
 * intruder would do (a program, a socket, another process, a file opened for
 * writing) ends the process at once. io_uring is no way around: its ring is
 * restricted to reads, writes and syncs (io/backends/uring_open.c), and no second one can be
 * made.
 *
 * The strict mode of seccomp was rejected: it has no pread. Landlock was, too:
 * it knows files only, and fewer kernels. It stands beside this where a process
 * is to open more files (confine.c).
 */
#include "tools/cli/sandbox.h"

#include <stdbool.h>
#include <stddef.h>

static bool sandbox_disabled;
static bool sandbox_keeps_network;
static void (*sandbox_all_open)(void *opaque); /* NULL: none, or it was called */
static void *sandbox_opaque;

void sandbox_disable(void)
{
	sandbox_disabled = true;
}

bool sandbox_is_disabled(void)
{
#ifdef HAVE_SECCOMP
	return sandbox_disabled;
#else
	return true;
#endif
}

bool sandbox_keep_network(void (*all_open)(void *opaque), void *opaque, bool keep)
{
	sandbox_all_open = all_open;
	sandbox_opaque = opaque;
	sandbox_keeps_network = keep;
#ifdef HAVE_SECCOMP
	return !sandbox_disabled;
#else
	return false;
#endif
}

static void sandbox_say_all_open(void)
{
	void (*all_open)(void *opaque) = sandbox_all_open;

	sandbox_all_open = NULL;
	if (all_open)
		all_open(sandbox_opaque);
}

#ifndef HAVE_SECCOMP

void sandbox_enter(unsigned names)
{
	(void)names;
	sandbox_say_all_open();
}

#else

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <malloc.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_CALLS(list)    (sizeof(list) / sizeof((list)[0]))

static const int sandbox_allowed[] = {
	/* Open files. */
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(preadv),
	SCMP_SYS(pwritev),
	SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2),
	SCMP_SYS(lseek),
	SCMP_SYS(_llseek),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(sync_file_range),
	SCMP_SYS(sync_file_range2),
	SCMP_SYS(fallocate),
	SCMP_SYS(ftruncate),
	SCMP_SYS(ftruncate64),
	SCMP_SYS(fadvise64),
	SCMP_SYS(fadvise64_64),
	SCMP_SYS(copy_file_range),
	SCMP_SYS(fcntl),
	SCMP_SYS(fcntl64),
	SCMP_SYS(close),
	SCMP_SYS(fstat),
	SCMP_SYS(fstat64),
	SCMP_SYS(fstatfs),
	SCMP_SYS(fstatfs64),
	SCMP_SYS(inotify_rm_watch),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	/* glibc's fstat(). By a name they tell whether it is there, no more. */
	SCMP_SYS(newfstatat),
	SCMP_SYS(fstatat64),
	SCMP_SYS(statx),
	/* Waiting. */
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(ppoll_time64),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(futex),
	SCMP_SYS(futex_time64),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_settime64),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(clock_nanosleep_time64),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(sched_yield),
	/* Time and chance. */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_gettime64),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(getrandom),
	/* Memory; mmap and mprotect are below. */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(mincore),
	/* Clients of the control socket, which listens already. */
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendto),
	SCMP_SYS(recv),
	SCMP_SYS(send),
	SCMP_SYS(shutdown),
	/* The process itself, its threads and signals. */
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(getrlimit),
	SCMP_SYS(ugetrlimit),
};

/* Nothing that a C library does by itself. */
static const int sandbox_hostile[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(socket),
	SCMP_SYS(socketpair),
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(creat),
	SCMP_SYS(openat2),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(mknod),
	SCMP_SYS(symlink),
	SCMP_SYS(symlinkat),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_setup),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(add_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(request_key),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(setuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
	SCMP_SYS(capset),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
};

static const int sandbox_unlink[] = { SCMP_SYS(unlink), SCMP_SYS(unlinkat) };
static const int sandbox_rename[] = { SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2) };
/* A file that is read becomes one that is written to, under its old descriptor. */
static const int sandbox_confined[] = { SCMP_SYS(dup3), SCMP_SYS(statfs), SCMP_SYS(statfs64) };
static const int sandbox_link[] = { SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(syncfs) };

/* How tools/pull/metrics_file.c makes its file. */
#define SANDBOX_NEW_FILE (O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC)

/* Bases behind a network: connections come from another process, as descriptors. */
static const int sandbox_network[] = { SCMP_SYS(recvmsg), SCMP_SYS(sendmsg) };
/* Messages with descriptors, and memory that another process keeps for us. A disk that comes back
 * from another process is watched again, by the names of its open files, and its pull starts again:
 * the way to a new base is made from where links lead. */
static const int sandbox_guest[] = {
	SCMP_SYS(recvmsg),           SCMP_SYS(sendmsg), SCMP_SYS(memfd_create),
	SCMP_SYS(inotify_add_watch), SCMP_SYS(getcwd),  SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),        SCMP_SYS(access),  SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
};

/* Asking for a terminal, for its width, for the extents of a file, and for a range to be cloned,
 * zeroed or discarded. */
static const unsigned long sandbox_ioctls[] = { TCGETS,       TIOCGWINSZ,   FS_IOC_FIEMAP,
						FICLONERANGE, BLKGETSIZE64, BLKDISCARD,
						BLKZEROOUT };

/* A call that this processor has not is no error: libseccomp leaves it out. */
static int sandbox_all(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t n)
{
	int rc = 0;
	for (size_t i = 0; !rc && i < n; i++)
		rc = seccomp_rule_add(filter, action, calls[i], 0);
	return rc;
}

static int sandbox_arg(scmp_filter_ctx filter, uint32_t action, int call, struct scmp_arg_cmp cmp)
{
	return seccomp_rule_add_array(filter, action, call, 1, &cmp);
}

/* Memory never becomes code; a clone is a thread; limits are read, not set. */
static int sandbox_by_argument(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	int rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), no_code);
	if (!rc)
		rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap2), no_code);
	if (!rc)
		rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), no_code);
	if (!rc)
		rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone),
				 SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	/* Its flags lie in memory, where no filter looks: glibc takes clone instead. */
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!rc)
		rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64),
				 SCMP_A2(SCMP_CMP_EQ, 0));
	/* abort() */
	if (!rc)
		rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill),
				 SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	for (size_t i = 0; !rc && i < N_CALLS(sandbox_ioctls); i++)
		rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl),
				 SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, sandbox_ioctls[i]));
	return rc;
}

/* A new file's name may need an empty file in its place first, and the file its mode: never a
 * device, nor a program that runs as its owner. */
static int sandbox_new_file(scmp_filter_ctx filter, unsigned names)
{
	int rc;

	if (!(names & SANDBOX_RENAME))
		return seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(mknodat), 0);
	rc = sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(mknodat),
			 SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, S_IFREG | 0600));
	return rc ? rc
		  : sandbox_arg(filter, SCMP_ACT_ALLOW, SCMP_SYS(fchmod),
				SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX & ~0777u, 0));
}

/* One way to open a file by name, by whatever call. */
static int sandbox_open(scmp_filter_ctx filter, uint32_t action, unsigned mask, unsigned flags)
{
	int rc = sandbox_arg(filter, action, SCMP_SYS(open),
			     SCMP_A1(SCMP_CMP_MASKED_EQ, mask, flags));
	return rc ? rc
		  : sandbox_arg(filter, action, SCMP_SYS(openat),
				SCMP_A2(SCMP_CMP_MASKED_EQ, mask, flags));
}

/* To write is hostile; to read may be a C library after its tables, and fails with EPERM. Where a
 * file may be replaced, a new one is the exception, and what else asks for a new one gets EPERM:
 * of rules that overlap libseccomp does not say which counts. */
static int sandbox_opens(scmp_filter_ctx filter, unsigned names)
{
	unsigned new = names &SANDBOX_REPLACE ? O_EXCL : 0;
	int rc;

	if (names & SANDBOX_CONFINED)
		return sandbox_open(filter, SCMP_ACT_ALLOW, 0, 0);
	rc = sandbox_open(filter, SCMP_ACT_KILL_PROCESS, O_ACCMODE | new, O_WRONLY);

	if (!rc)
		rc = sandbox_open(filter, SCMP_ACT_KILL_PROCESS, O_ACCMODE, O_RDWR);
	if (!rc && new)
		rc = sandbox_open(filter, SCMP_ACT_ALLOW, UINT32_MAX & ~O_LARGEFILE,
				  SANDBOX_NEW_FILE);
	return rc;
}

static int sandbox_build(scmp_filter_ctx filter, unsigned names)
{
	/* All threads at once; no mitigation that only untrusted code calls for and all would
	 * pay. */
	int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!rc)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!rc)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	if (!rc)
		rc = sandbox_all(filter, SCMP_ACT_ALLOW, sandbox_allowed, N_CALLS(sandbox_allowed));
	if (!rc)
		rc = sandbox_all(filter, SCMP_ACT_KILL_PROCESS, sandbox_hostile,
				 N_CALLS(sandbox_hostile));
	if (!rc && names & (SANDBOX_UNLINK | SANDBOX_REPLACE))
		rc = sandbox_all(filter, SCMP_ACT_ALLOW, sandbox_unlink, N_CALLS(sandbox_unlink));
	if (!rc && names & (SANDBOX_RENAME | SANDBOX_REPLACE))
		rc = sandbox_all(filter, SCMP_ACT_ALLOW, sandbox_rename, N_CALLS(sandbox_rename));
	if (!rc && names & SANDBOX_RENAME)
		rc = sandbox_all(filter, SCMP_ACT_ALLOW, sandbox_link, N_CALLS(sandbox_link));
	if (!rc && names & SANDBOX_CONFINED)
		rc = sandbox_all(filter, SCMP_ACT_ALLOW, sandbox_confined,
				 N_CALLS(sandbox_confined));
	if (!rc && sandbox_keeps_network && !(names & SANDBOX_GUEST))
		rc = sandbox_all(filter, SCMP_ACT_ALLOW, sandbox_network, N_CALLS(sandbox_network));
	if (!rc && names & SANDBOX_GUEST)
		rc = sandbox_all(filter, SCMP_ACT_ALLOW, sandbox_guest, N_CALLS(sandbox_guest));
	else if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(memfd_create), 0);
	if (!rc && names & SANDBOX_WATCH && !(names & SANDBOX_GUEST))
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(inotify_add_watch), 0);
	if (!rc)
		rc = sandbox_new_file(filter, names);
	if (!rc)
		rc = sandbox_by_argument(filter);
	return rc ? rc : sandbox_opens(filter, names);
}

void sandbox_enter(unsigned names)
{
	scmp_filter_ctx filter;

	sandbox_say_all_open();
	if (sandbox_disabled)
		return;
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return;
#ifdef M_ARENA_MAX
	/* With an arena for each thread malloc reads files of the system when it makes or shrinks
	 * one. */
	mallopt(M_ARENA_MAX, 1);
#endif
	/* Loading sets PR_SET_NO_NEW_PRIVS, too. */
	if (!sandbox_build(filter, names))
		seccomp_load(filter);
	seccomp_release(filter);
	sandbox_disabled = true; /* once is enough */
}

#endif
