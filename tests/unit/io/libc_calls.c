/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The calls of io/libc.h, each once, with offsets behind 4 GiB. Prints TAP. It needs nothing but
 * a C library, so that tools/cross/musl can run it with musl's: Criterion is glibc's alone.
 */
#include "io/libc.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>

#define FAR_OFF ((off_t)5 << 30)

static int n_told;
static bool has_failed;

static void tell(bool is_so, const char *what)
{
	printf("%s %d - %s\n", is_so ? "ok" : "not ok", ++n_told, what);
	if (!is_so)
		has_failed = true;
}

static void try_vectors(int fd)
{
	char there[6] = "";
	struct iovec out[2] = { { (char[]){ "ab" }, 2 }, { (char[]){ "cde" }, 3 } };
	struct iovec in[2] = { { there, 1 }, { there + 1, 4 } };
	struct stat st;

	tell(libc_pwritev2(fd, out, 2, FAR_OFF, 0) == 5 && !fstat(fd, &st) &&
		     st.st_size == FAR_OFF + 5,
	     "pwritev2() writes where it is told");
	tell(libc_preadv2(fd, in, 2, FAR_OFF, 0) == 5 && !strcmp(there, "abcde"),
	     "preadv2() reads there");
	tell(libc_preadv2(fd, in, 2, FAR_OFF, RWF_NOWAIT) == 5 || errno == EAGAIN ||
		     errno == EOPNOTSUPP,
	     "preadv2() takes flags");
	tell(libc_preadv2(fd, in, 2, FAR_OFF, 1 << 30) == -1 &&
		     (errno == EOPNOTSUPP || errno == EINVAL),
	     "preadv2() refuses a flag that is none");
}

static void try_names(int fd)
{
	struct statx sx;

	tell(!libc_statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx) &&
		     sx.stx_size == FAR_OFF + 5 && S_ISREG(sx.stx_mode),
	     "statx() tells of a file");
	tell(libc_statx(-1, "", AT_EMPTY_PATH, STATX_TYPE, &sx) == -1 && errno == EBADF,
	     "statx() fails by errno");
	tell(!libc_renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_NOREPLACE) &&
		     !access("two", F_OK),
	     "renameat2() gives a name");
	close(open("one", O_CREAT | O_WRONLY, 0600));
	tell(libc_renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_NOREPLACE) == -1 &&
		     errno == EEXIST && !access("one", F_OK),
	     "renameat2() replaces nothing");
}

static void try_sentences(void)
{
	char text[64];

	tell(strstr(libc_strerror(ENOSPC, text, sizeof(text)), "space") != NULL,
	     "an error has its sentence");
	tell(*libc_strerror(99999, text, sizeof(text)), "a number that is no error has one, too");
}

int main(void)
{
	char dir[] = "/tmp/libc-calls.XXXXXX";
	int fd;

	if (!mkdtemp(dir) || chdir(dir))
		return 1;
	fd = open("one", O_CREAT | O_RDWR, 0600);
	if (fd < 0)
		return 1;
	printf("1..10\n");
	try_vectors(fd);
	try_names(fd);
	try_sentences();
	close(fd);
	unlink("one");
	unlink("two");
	rmdir(dir);
	return has_failed;
}
