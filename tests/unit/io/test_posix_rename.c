/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A finished file gets its name on systems that refuse some of the ways, or obey and
 * say that they did not, as a server does whose first answer was lost. No other file
 * is lost by that, and none is left behind.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/posix/dir.h"
#include "io/posix/rename.h"
#include "tests/support/files/scratch.h"

TestSuite(posix_rename, .init = scratch_make, .fini = scratch_remove, .timeout = 60);

/* What a call says; error 0: what the system does. */
struct answer {
	int error;
	bool obeys; /* it did what it was asked for all the same */
};
static struct answer rename2_says, link_says, rename_says;

int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);

static int say(const struct answer *says, int rc)
{
	if (!says->error)
		return rc;
	errno = says->error;
	return -1;
}

static bool does(const struct answer *says)
{
	return !says->error || says->obeys;
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return say(&rename2_says,
		   does(&rename2_says) ? __real_renameat2(from_fd, from, to_fd, to, flags) : -1);
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	return say(&link_says,
		   does(&link_says) ? __real_linkat(from_fd, from, to_fd, to, flags) : -1);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return say(&rename_says,
		   does(&rename_says) ? __real_renameat(from_fd, from, to_fd, to) : -1);
}

static bool exists(const struct posix_dir *dir, const char *name)
{
	return !faccessat(dir->fd, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

/* Gives "temp" the name "new", which another file has or not. Afterwards the finished file has the
 * new name, or the old one: has_new, has_temp. */
static int give_name(bool other, bool *has_new, bool *has_temp)
{
	struct posix_dir dir = { .fd = open(scratch_dir(), O_RDONLY | O_DIRECTORY) };
	int fd = openat(dir.fd, "temp", O_CREAT | O_EXCL | O_RDWR, 0600), rc;
	struct stat file, is;

	cr_assert(dir.fd >= 0 && fd >= 0);
	cr_assert_eq(write(fd, "done", 4), 4);
	cr_assert_eq(fstat(fd, &file), 0);
	if (other)
		close(openat(dir.fd, "new", O_CREAT | O_EXCL | O_RDWR, 0600));
	rc = posix_rename(&dir, fd, "temp", "new");
	*has_temp = exists(&dir, "temp");
	*has_new = !fstatat(dir.fd, "new", &is, AT_SYMLINK_NOFOLLOW) && is.st_ino == file.st_ino;
	cr_assert(*has_new || other == exists(&dir, "new"), "something is left behind, or gone");
	cr_assert(!*has_new || !other, "another file was replaced");
	unlinkat(dir.fd, "temp", 0);
	unlinkat(dir.fd, "new", 0);
	close(fd);
	close(dir.fd);
	return rc;
}

static void expect(int rc, bool other, const char *what)
{
	bool has_new, has_temp;

	cr_assert_eq(give_name(other, &has_new, &has_temp), rc, "%s", what);
	cr_assert_eq(has_new, !rc, "%s", what);
	cr_assert_eq(has_temp, rc != 0, "%s", what);
}

/* By each of the three ways, the ones before being refused. */
static void refuse_ways(unsigned n)
{
	rename2_says = (struct answer){ .error = n > 0 ? EINVAL : 0 };
	link_says = (struct answer){ .error = n > 1 ? EPERM : 0 };
	rename_says = (struct answer){ 0 };
}

Test(posix_rename, each_way_gives_the_name_and_replaces_nothing)
{
	for (unsigned n = 0; n < 3; n++) {
		refuse_ways(n);
		expect(0, false, "free");
		expect(-EEXIST, true, "taken");
	}
}

Test(posix_rename, what_was_obeyed_is_done_whatever_was_said)
{
	static const int errors[] = { EEXIST, EIO, ENOENT };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (unsigned n = 0; n < 3; n++) {
			struct answer *says[] = { &rename2_says, &link_says, &rename_says };

			refuse_ways(n);
			*says[n] = (struct answer){ .error = errors[i], .obeys = true };
			expect(0, false, "obeyed");
		}
}

/* The empty file that kept the name goes when the last way fails behind it. */
Test(posix_rename, a_failing_way_leaves_nothing)
{
	for (unsigned n = 0; n < 3; n++) {
		struct answer *says[] = { &rename2_says, &link_says, &rename_says };

		refuse_ways(n);
		says[n]->error = EIO;
		expect(-EIO, false, "failed");
	}
}
