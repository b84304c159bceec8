/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files of the real file system: what may be opened, under which name, with
 * which sentence when not; and the blocking calls at their edges. What only
 * root can set up (mounts, loop devices) is skipped with the reason elsewhere.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"
#include "tests/unit/io/file_rig.h"

TestSuite(file, .init = scratch_make, .fini = scratch_remove);

/* The code, and every one of `words` in the sentence. */
static void refused(const struct file_open *how, int code, const char *const *words)
{
	struct file *file;
	cr_assert_eq(try_open(how, &file), code, "%s", open_err.message);
	cr_assert_eq(file, NULL);
	cr_assert_eq(open_err.code, code);
	for (; *words; words++)
		cr_assert(strstr(open_err.message, *words), "'%s' is not in: %s", *words,
			  open_err.message);
}
#define REFUSED(how, code, ...) refused(how, code, (const char *const[]){ __VA_ARGS__, NULL })

Test(file, a_file_is_what_it_was_named)
{
	const char *path = scratch_file("disk", "hello", 5);
	struct file *file = must_open(OPEN(.name = path));
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	cr_assert_str_eq(file->name, path);
	cr_assert_str_eq(file->real_name, path);
	cr_assert_eq(file->len, 5);
	cr_assert_eq(file->dev, st.st_dev);
	cr_assert_eq(file->ino, st.st_ino);
	cr_assert_eq(file->mtime_ns, st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
	cr_assert_eq(file->io_align, 1);
	cr_assert_eq(file->slot, -1);
	cr_assert_not(file->writable);
	cr_assert_not(file->is_block);
	cr_assert(fcntl(file->fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(fcntl(file->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	cr_assert_not(fcntl(file->fd, F_GETFL) & O_NONBLOCK);
	file_close(file);
}

Test(file, a_relative_name_and_a_symlink_have_a_real_name)
{
	const char *path = scratch_file("disk", "x", 1);
	cr_assert_eq(symlink("disk", scratch("link")), 0);
	cr_assert_eq(chdir(scratch_dir()), 0);

	struct file *file = must_open(OPEN(.name = "./link"));
	cr_assert_str_eq(file->name, "./link");
	cr_assert_str_eq(file->real_name, path);
	file_close(file);
	cr_assert_eq(chdir("/"), 0);
}

Test(file, what_is_no_image_is_refused)
{
	REFUSED(OPEN(.name = scratch("gone")), -ENOENT, scratch("gone"), "exist");
	cr_assert_eq(symlink("nowhere", scratch("link")), 0);
	REFUSED(OPEN(.name = scratch("link")), -ENOENT, "symbolic link");
	REFUSED(OPEN(.name = scratch_dir()), -EISDIR, "directory");
	REFUSED(OPEN(.name = scratch_dir(), .write = true), -EISDIR, "directory");
	REFUSED(OPEN(.name = "/dev/null"), -EINVAL, "block device");
	REFUSED(OPEN(.name = "/dev/zero"), -EINVAL, "/dev/zero");
	REFUSED(OPEN(.name = ""), -ENOENT, "exist");
	cr_assert_eq(symlink("loop", scratch("loop")), 0);
	REFUSED(OPEN(.name = scratch("loop")), -ELOOP, scratch("loop"));

	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.100s", scratch("socket"));
	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	REFUSED(OPEN(.name = scratch("socket")), -EINVAL, "regular file");
	close(fd);
}

/* A fifo without a partner would keep open() waiting for ever. */
Test(file, a_fifo_does_not_block, .timeout = TIME_LIMIT_CLOCK(10))
{
	cr_assert_eq(mkfifo(scratch("fifo"), 0666), 0);
	REFUSED(OPEN(.name = scratch("fifo")), -EINVAL, "regular file");
	REFUSED(OPEN(.name = scratch("fifo"), .write = true), -EINVAL, "regular");
}

Test(file, a_hostile_name_is_escaped)
{
	REFUSED(OPEN(.name = "/nowhere/a\x1b[2Jb\n"), -ENOENT, "/nowhere/a\\x1b[2Jb\\x0a");
}

Test(file, policy_is_asked_about_the_real_name)
{
	cr_assert_eq(mkdir(scratch("tree"), 0777), 0);
	cr_assert_eq(mkdir(scratch("secret"), 0777), 0);
	scratch_file("secret/shadow", "x", 1);
	scratch_file("tree/base", "x", 1);
	cr_assert_eq(symlink("../secret/shadow", scratch("tree/link")), 0);
	cr_assert_eq(symlink("tree/base", scratch("way_in")), 0);
	const char *dirs[] = { scratch("tree") };
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = dirs, .n_dirs = 1 };

	REFUSED(OPEN(.name = scratch("tree/link"), .policy = &policy), -EPERM, scratch("tree/link"),
		scratch("secret/shadow"), scratch("secret"));
	cr_assert_eq(open_err.remedy, ERR_REMEDY_ALLOW_BACKING);
	cr_assert_str_eq(open_err.remedy_name, scratch("secret"));
	REFUSED(OPEN(.name = scratch("tree/../secret/shadow"), .policy = &policy), -EPERM,
		"not allowed");
	cr_assert_eq(open_err.remedy, ERR_REMEDY_ALLOW_BACKING);
	file_close(must_open(OPEN(.name = scratch("way_in"), .policy = &policy)));
	policy.rule = PATH_RULE_NONE;
	REFUSED(OPEN(.name = scratch("tree/base"), .policy = &policy), -EPERM,
		scratch("tree/base"));
	file_close(must_open(OPEN(.name = scratch("tree/base"))));
}

/* A child that swaps the link between a file that may be read and one that may not. */
static void swap_for_ever(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where an assertion ends the test */
	for (;;) {
		(void)!symlink("tree/base", scratch("new"));
		rename(scratch("new"), scratch("link"));
		(void)!symlink("secret", scratch("new"));
		rename(scratch("new"), scratch("link"));
	}
}

Test(file, swapping_a_symlink_wins_nothing)
{
	cr_assert_eq(mkdir(scratch("tree"), 0777), 0);
	scratch_file("tree/base", "base", 4);
	scratch_file("secret", "evil", 4);
	cr_assert_eq(symlink("secret", scratch("link")), 0);
	const char *dirs[] = { scratch("tree") };
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = dirs, .n_dirs = 1 };
	char link[1024];
	snprintf(link, sizeof(link), "%s", scratch("link"));
	pid_t pid = fork();
	if (!pid)
		swap_for_ever();

	unsigned opened = 0, denied = 0;
	for (unsigned i = 0; i < 2000 || !opened || !denied; i++) {
		struct file *file;
		char text[4];
		int ret = try_open(OPEN(.name = link, .policy = &policy), &file);
		denied += ret == -EPERM;
		cr_assert(!ret || ret == -EPERM, "%d: %s", ret, open_err.message);
		if (ret)
			continue;
		opened++;
		cr_assert_eq(file_read(file, text, 4, 0), 0);
		cr_assert_eq(memcmp(text, "base", 4), 0, "read what the policy forbids");
		file_close(file);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(file, a_file_without_a_name_is_refused)
{
	char path[64];
	int fd = open(scratch_file("disk", "x", 1), O_RDONLY);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	file_close(must_open(OPEN(.name = path)));
	unlink(scratch("disk"));
	REFUSED(OPEN(.name = path), -ENOENT, "removed or replaced");
	/* Another file of that very name does not make it any better. */
	scratch_file("disk (deleted)", "y", 1);
	REFUSED(OPEN(.name = path), -ENOENT, "removed or replaced");
	close(fd);
	struct file *file = must_open(OPEN(.name = scratch("disk (deleted)")));
	cr_assert_str_eq(file->real_name, scratch("disk (deleted)"));
	file_close(file);
}

/* In a child with its own mounts; the child's exit status is the test. */
static void in_namespace(int (*body)(void))
{
	pid_t pid = fork();
	if (!pid) {
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
			_exit(77);
		_exit(body());
	}
	int status;
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		scratch_skip("needs the right to mount");
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child failed at step %d",
		  WEXITSTATUS(status));
}

static int without_proc(void)
{
	struct file *file;
	const char *dirs[] = { scratch("tree") };
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = dirs, .n_dirs = 1 };
	char text[4];

	if (mount("none", "/proc", "tmpfs", 0, NULL))
		return 77;
	if (try_open(OPEN(.name = scratch("link"), .policy = &policy), &file))
		return 1;
	if (strcmp(file->real_name, scratch("tree/base")) || file_read(file, text, 4, 0) ||
	    memcmp(text, "base", 4) || fcntl(file->fd, F_GETFL) & O_NONBLOCK)
		return 2;
	file_close(file);
	if (try_open(OPEN(.name = scratch("out"), .policy = &policy), &file) != -EPERM)
		return 3;
	if (try_open(OPEN(.name = scratch("link"), .write = true), &file))
		return 4;
	if (file_write(file, "edit", 4, 0))
		return 5;
	file_close(file);
	return 0;
}

Test(file, without_proc_the_name_is_resolved_and_compared)
{
	cr_assert_eq(mkdir(scratch("tree"), 0777), 0);
	scratch_file("tree/base", "base", 4);
	scratch_file("secret", "evil", 4);
	cr_assert_eq(symlink("tree/base", scratch("link")), 0);
	cr_assert_eq(symlink("secret", scratch("out")), 0);
	in_namespace(without_proc);
}

static int read_only_mount(void)
{
	struct file *file;
	const char *path = scratch("mnt/disk");

	if (mount("none", scratch("mnt"), "tmpfs", 0, NULL))
		return 77;
	close(open(path, O_CREAT | O_WRONLY, 0666));
	if (mount(NULL, scratch("mnt"), NULL, MS_REMOUNT | MS_RDONLY | MS_BIND, NULL))
		return 77;
	if (try_open(OPEN(.name = path, .write = true), &file) != -EROFS)
		return 1;
	if (!strstr(open_err.message, "read-only") || !strstr(open_err.message, path))
		return 2;
	if (try_open(OPEN(.name = path), &file))
		return 3;
	file_close(file);
	return 0;
}

Test(file, a_read_only_file_system_has_its_sentence)
{
	cr_assert_eq(mkdir(scratch("mnt"), 0777), 0);
	in_namespace(read_only_mount);
}

Test(file, no_permission_has_its_sentence)
{
	chmod(scratch_dir(), 0755);
	const char *path = scratch_file("disk", "x", 1);
	chmod(path, 0444);
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	REFUSED(OPEN(.name = path, .write = true), -EACCES, "no permission", "writing", path);
	file_close(must_open(OPEN(.name = path)));
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
	chmod(path, 0);
	if (getuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	REFUSED(OPEN(.name = path), -EACCES, "no permission", path);
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
}

/* -EPERM is for the policy alone. */
Test(file, an_immutable_file_is_no_matter_of_policy)
{
	const char *path = scratch_file("disk", "x", 1);
	int flags, fd = open(path, O_RDONLY);
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		scratch_skip("the file system knows no flags");
	flags |= FS_IMMUTABLE_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags))
		scratch_skip("may not mark files immutable");
	REFUSED(OPEN(.name = path, .write = true), -EACCES, "immutable", path);
	flags &= ~FS_IMMUTABLE_FL;
	cr_assert_eq(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
}
