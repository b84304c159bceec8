/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Each process that shares a budget has locked a byte of its file, a place. The kernel gives back
 * what a dead process has locked, also one of another container: no process has to find out which
 * others are alive. Places are counted only where the budget looks further ahead than a few could
 * have brought it. All locks are asked for and never waited for, but that of the file's making, for
 * a second.
 *
 * A file that does not hold a budget any more, or became shorter, is left: the process goes on by
 * itself at the last rate, and complains.
 */
#include "tools/budget/budget.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/budget/page.h"
#include "tools/clock/monotonic.h"

#define FILE_LEN   4096
#define PLACES_OFF 4096 /* locked bytes lie behind the file's end */
#define N_PLACES   256
#define MAKE_TRIES 100 /* of 10 ms */
#define COUNT_NS   UINT64_C(1000000000)

enum budget_trouble {
	TROUBLE_RATE = 1 << 0,
	TROUBLE_TIME = 1 << 1,
	TROUBLE_LOST = 1 << 2, /* it is no budget any more */
};

struct budget {
	int fd;
	struct budget_page *page; /* the file's, or own */
	struct budget_page own;
	struct budget_page *map;
	struct budget_view view;
	uint64_t counted_ns;
	uint8_t boot_id[16];
	atomic_uint trouble, told; /* enum budget_trouble */
};

static void budget_read_boot_id(uint8_t boot_id[16])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[36] = "";

	memset(boot_id, 0, 16);
	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text)) == sizeof(text))
		memcpy(boot_id, text, 16); /* enough to tell two boots apart */
	close(fd);
}

/* ---- places ---- */

static bool budget_lock(int fd, short type, off_t off)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = off, .l_len = 1 };

	return !fcntl(fd, F_OFD_SETLK, &lock);
}

static bool budget_take_place(int fd)
{
	for (unsigned i = 0; i < N_PLACES; i++)
		if (budget_lock(fd, F_WRLCK, PLACES_OFF + i))
			return true;
	return false;
}

/* Places that others have, and our own. */
static unsigned budget_count_holders(int fd)
{
	unsigned n = 1;

	for (unsigned i = 0; i < N_PLACES; i++) {
		struct flock lock = { .l_type = F_WRLCK,
				      .l_whence = SEEK_SET,
				      .l_start = PLACES_OFF + i,
				      .l_len = 1 };

		n += !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
	}
	return n;
}

/* ---- opening ---- */

static int budget_fail(char why[BUDGET_WHY_CAP], int code, const char *path, const char *text)
{
	snprintf(why, BUDGET_WHY_CAP, "'%.300s': %s", path, text);
	return code;
}

static int budget_refuse_new(const char *path, char why[BUDGET_WHY_CAP])
{
	return budget_fail(why, -ENOENT, path, "the budget is new: say its rate, as FILE:RATE");
}

/* Without a rate none is made: the name may be a slip of the pen. */
static int budget_open_file(const char *path, bool may_make, int *fd, char why[BUDGET_WHY_CAP])
{
	int make = may_make ? O_CREAT : 0;
	struct stat st;

	*fd = open(path, O_RDWR | make | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (*fd < 0 && errno == ENOENT && !may_make)
		return budget_refuse_new(path, why);
	if (*fd < 0)
		return budget_fail(why, -errno, path, strerror(errno));
	if (fstat(*fd, &st))
		return budget_fail(why, -errno, path, strerror(errno));
	if (!S_ISREG(st.st_mode) || (st.st_size && st.st_size != FILE_LEN))
		return budget_fail(
			why, -EINVAL, path,
			"it is no budget's file; name another, or one that is not there");
	return 0;
}

/* With the file's lock: makes the page what it is to be. */
static int budget_settle(struct budget *b, const char *path, const uint64_t *rate,
			 char why[BUDGET_WHY_CAP])
{
	static const struct budget_page nothing;
	struct budget_page *page = b->map;

	if (budget_page_is_one(page)) {
		if (memcmp(page->boot_id, b->boot_id, sizeof(b->boot_id)) != 0)
			budget_page_begin(page, b->boot_id, atomic_load(&page->rate));
		if (rate)
			atomic_store(&page->rate, *rate);
		if (atomic_load(&page->rate) > BUDGET_MAX_RATE)
			return budget_fail(why, -EINVAL, path,
					   "it has an impossible rate: say one (FILE:RATE)");
		return 0;
	}
	if (memcmp(page, &nothing, sizeof(nothing)) != 0)
		return budget_fail(why, -EINVAL, path,
				   "it holds something else than a budget; "
				   "name another, or one that is not there");
	if (!rate)
		return budget_refuse_new(path, why);
	budget_page_begin(page, b->boot_id, *rate);
	return 0;
}

/* Its blocks, too: a write into a hole of a mapped file is SIGBUS where the file system is full. */
static int budget_give_room(int fd)
{
	int rc = posix_fallocate(fd, 0, FILE_LEN);

	if (rc == EOPNOTSUPP || rc == EINVAL) /* not every C library does it another way then */
		return ftruncate(fd, FILE_LEN) ? -errno : 0;
	return -rc;
}

static int budget_map(struct budget *b, const char *path, const uint64_t *rate,
		      char why[BUDGET_WHY_CAP])
{
	struct timespec pause = { .tv_nsec = 10000000 };
	int rc;

	for (unsigned i = 0; !budget_lock(b->fd, F_WRLCK, 0); i++) {
		if (i == MAKE_TRIES)
			return budget_fail(why, -EBUSY, path,
					   "another process has been opening it for a second");
		nanosleep(&pause, NULL);
	}
	rc = budget_give_room(b->fd);
	if (!rc) {
		b->map = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
		rc = b->map == MAP_FAILED ? -errno : 0;
		b->map = rc ? NULL : b->map;
	}
	rc = rc ? budget_fail(why, rc, path, strerror(-rc)) : budget_settle(b, path, rate, why);
	budget_lock(b->fd, F_UNLCK, 0);
	if (!rc && !budget_take_place(b->fd))
		rc = budget_fail(why, -EUSERS, path, "256 processes share it already");
	return rc;
}

int budget_open(const char *path, const uint64_t *rate, struct budget **out,
		char why[BUDGET_WHY_CAP])
{
	struct budget *b;
	int rc;

	if (!*path)
		return budget_fail(why, -EINVAL, path, "the name of a file is missing");
	if (rate && *rate > BUDGET_MAX_RATE)
		return budget_fail(why, -ERANGE, path, "a budget has at most 16 GiB a second");
	b = calloc(1, sizeof(*b));
	if (!b)
		return budget_fail(why, -ENOMEM, path, "out of memory");
	budget_read_boot_id(b->boot_id);
	rc = budget_open_file(path, rate, &b->fd, why);
	if (!rc)
		rc = budget_map(b, path, rate, why);
	if (rc) {
		budget_close(b);
		return rc;
	}
	b->page = b->map;
	b->view.rate = atomic_load(&b->page->rate);
	b->view.n_holders = N_PLACES;
	*out = b;
	return 0;
}

void budget_close(struct budget *b)
{
	if (!b)
		return;
	if (b->map)
		munmap(b->map, FILE_LEN);
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}

void *budget_memory(struct budget *b, uint64_t *len)
{
	*len = FILE_LEN;
	return b->map;
}

/* ---- taking ---- */

/* The file is no budget any more: from here on alone, at the last rate. */
static void budget_leave_file(struct budget *b)
{
	budget_page_begin(&b->own, b->boot_id, b->view.rate);
	b->page = &b->own;
	atomic_fetch_or(&b->trouble, TROUBLE_LOST);
}

static bool budget_file_is_whole(const struct budget *b)
{
	struct stat st;

	return !fstat(b->fd, &st) && st.st_size >= FILE_LEN && budget_page_is_one(b->map);
}

uint64_t budget_ask(void *budget, uint64_t bytes)
{
	struct budget *b = budget;
	uint64_t now_ns = monotonic_ns(), wait_ns;

	if (b->page == b->map && !budget_file_is_whole(b))
		budget_leave_file(b);
	if (budget_page_is_far(b->page, now_ns) && now_ns - b->counted_ns > COUNT_NS) {
		b->view.n_holders = b->page == b->map ? budget_count_holders(b->fd) : 1;
		b->counted_ns = now_ns;
	}
	wait_ns = budget_page_take(b->page, &b->view, now_ns, bytes);
	if (b->view.wrong & BUDGET_WRONG_RATE) {
		atomic_store(&b->page->rate, b->view.rate);
		atomic_fetch_or(&b->trouble, TROUBLE_RATE);
	}
	if (b->view.wrong & BUDGET_WRONG_TIME)
		atomic_fetch_or(&b->trouble, TROUBLE_TIME);
	b->view.wrong = 0;
	return wait_ns;
}

int budget_set_rate(struct budget *b, uint64_t rate)
{
	if (rate > BUDGET_MAX_RATE)
		return -ERANGE;
	atomic_store(&b->page->rate, rate);
	return 0;
}

const char *budget_complaint(struct budget *b)
{
	unsigned news = atomic_load(&b->trouble) & ~atomic_load(&b->told);

	if (news & TROUBLE_LOST) {
		atomic_fetch_or(&b->told, TROUBLE_LOST);
		return "its file holds no budget any more, or was cut: this process goes on alone, "
		       "at the last rate";
	}
	if (news & TROUBLE_RATE) {
		atomic_fetch_or(&b->told, TROUBLE_RATE);
		return "another program wrote an impossible rate into its file: the last good one "
		       "is put back";
	}
	if (news & TROUBLE_TIME) {
		atomic_fetch_or(&b->told, TROUBLE_TIME);
		return "its file said that more was taken than the processes that share it could "
		       "take: counting begins anew";
	}
	return NULL;
}
