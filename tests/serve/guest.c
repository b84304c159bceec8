/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The one program of a Linux guest, whose /init it is; on the host it makes the
 * same requests to a file, which says what the guest's disk must hold.
 *
 *	guest fill FILE SEED		what the disk holds at first
 *	guest write FILE SEED N		N requests of each worker
 *	/init SEED N			on /dev/vda: writes, verifies, leaves a mark and boots anew;
 *					where the mark is there, verifies, waits until the
 *					disk is longer, and switches off
 *
 * The requests are drawn from the seed alone, so a guest that boots again knows them, too. Each
 * worker has a part of the disk, and one request in flight; it runs on a processor of its own or
 * with another one, so that every queue has requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK   4096u
#define UNIT    16u /* blocks: what is discarded, a cluster; and the longest request */
#define WORKERS 4u
#define PART    1536u /* blocks of a worker; it discards the last unit at its end */
#define BLOCKS  (WORKERS * PART + UNIT) /* of the disk; the mark is the last */
#define REPORT  25u                     /* requests */

#define ZEROS  UINT32_MAX    /* a version */
#define EITHER (1u << 31)    /* flag: it was discarded, and holds that version or zeros */
#define MARK   (EITHER - 1u) /* the version of the mark */

enum way {
	WAY_NOTHING, /* the requests are drawn, and not made */
	WAY_FILE,
	WAY_DISK,
};

struct worker {
	int fd;
	enum way way;
	uint64_t seed, state;
	uint32_t first;          /* block of its part */
	uint32_t versions[PART]; /* of what its blocks hold */
};

static uint8_t buffer[UNIT * BLOCK] __attribute__((aligned(4096)));

__attribute__((noreturn)) static void fail(const char *what, uint32_t block)
{
	printf("FAIL: %s, block %u: %s\n", what, block, strerror(errno));
	fflush(stdout);
	_exit(1);
}

/* ---- contents ---- */

static void fill(uint64_t seed, uint32_t block, uint32_t version, uint64_t *words)
{
	uint64_t word = (seed * 31 + block) * UINT64_C(0x9e3779b97f4a7c15) +
			version * UINT64_C(0xd1342543de82ef95);

	for (unsigned i = 0; i < BLOCK / 8; i++) {
		word = (word ^ word >> 29) * UINT64_C(0xbf58476d1ce4e5b9) + i;
		words[i] = version == ZEROS ? 0 : word;
	}
}

static bool holds(uint64_t seed, uint32_t block, uint32_t version, const uint8_t *bytes)
{
	uint64_t wanted[BLOCK / 8];

	fill(seed, block, version, wanted);
	return !memcmp(bytes, wanted, BLOCK);
}

static void move(int fd, bool writes, uint32_t block, uint32_t n)
{
	size_t len = (size_t)n * BLOCK;
	off_t off = (off_t)block * BLOCK;
	ssize_t got = writes ? pwrite(fd, buffer, len, off) : pread(fd, buffer, len, off);

	if (got != (ssize_t)len)
		fail(writes ? "write" : "read", block);
}

/* ---- requests ---- */

static uint32_t draw(struct worker *w, uint32_t n)
{
	w->state ^= w->state << 13;
	w->state ^= w->state >> 7;
	w->state ^= w->state << 17;
	return (w->state >> 16) % n;
}

static void set_versions(struct worker *w, uint32_t at, uint32_t n, uint32_t version)
{
	for (uint32_t i = at; i < at + n; i++)
		w->versions[i] = version;
}

static void write_blocks(struct worker *w, uint32_t at, uint32_t n, uint32_t version)
{
	set_versions(w, at, n, version);
	if (w->way == WAY_NOTHING)
		return;
	for (uint32_t i = 0; i < n; i++)
		fill(w->seed, w->first + at + i, version, (uint64_t *)(buffer + i * BLOCK));
	move(w->fd, true, w->first + at, n);
}

static void check_blocks(struct worker *w, uint32_t at, uint32_t n)
{
	if (w->way != WAY_DISK)
		return;
	move(w->fd, false, w->first + at, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t block = w->first + at + i, version = w->versions[at + i];
		bool may_be_zero = version != ZEROS && version & EITHER;

		if (may_be_zero)
			version &= ~EITHER;
		errno = 0;
		if (!holds(w->seed, block, version, buffer + i * BLOCK) &&
		    !(may_be_zero && holds(w->seed, block, ZEROS, buffer + i * BLOCK)))
			fail("other bytes than were written", block);
	}
}

static void clear_blocks(struct worker *w, uint32_t at, uint32_t n, unsigned long request)
{
	uint64_t range[2] = { (uint64_t)(w->first + at) * BLOCK, (uint64_t)n * BLOCK };

	if (w->way == WAY_DISK && ioctl(w->fd, request, range))
		fail(request == BLKDISCARD ? "discard" : "zeroing", w->first + at);
	if (w->way == WAY_FILE) {
		memset(buffer, 0, (size_t)n * BLOCK);
		move(w->fd, true, w->first + at, n);
	}
}

static void discard_unit(struct worker *w, uint32_t at)
{
	clear_blocks(w, at, UNIT, BLKDISCARD);
	for (uint32_t i = at; i < at + UNIT; i++)
		if (w->versions[i] != ZEROS)
			w->versions[i] |= EITHER;
}

static void zero_blocks(struct worker *w, uint32_t at, uint32_t n)
{
	clear_blocks(w, at, n, BLKZEROOUT);
	set_versions(w, at, n, ZEROS);
}

static void flush(struct worker *w)
{
	if (w->way == WAY_DISK && fsync(w->fd))
		fail("flush", w->first);
}

static void request(struct worker *w, uint32_t version)
{
	uint32_t kind = draw(w, 16), n = 1 + draw(w, UNIT), at = draw(w, PART - UNIT - n + 1);

	switch (kind) {
	case 0:
	case 1:
	case 2:
	case 3: check_blocks(w, at, n); return;
	case 4: zero_blocks(w, at, n); return;
	case 5: discard_unit(w, at / UNIT * UNIT); return;
	case 6: flush(w); return;
	case 7:
	case 8: write_blocks(w, at, 1, version); return;
	default: write_blocks(w, at, n, version); return;
	}
}

/* What was discarded is zeroed, so that each byte is known; the last unit is discarded. */
static void settle(struct worker *w)
{
	for (uint32_t i = 0; i < PART; i++)
		if (w->versions[i] != ZEROS && w->versions[i] & EITHER)
			zero_blocks(w, i, 1);
	flush(w);
	for (uint32_t at = 0; at < PART; at += UNIT)
		check_blocks(w, at, UNIT);
	clear_blocks(w, PART - UNIT, UNIT, BLKDISCARD);
	set_versions(w, PART - UNIT, UNIT, ZEROS);
	flush(w);
}

/* ---- workers ---- */

static void work(struct worker *w, unsigned n)
{
	write_blocks(w, PART - UNIT, UNIT, 1);
	for (unsigned i = 0; i < n; i++) {
		request(w, i + 2);
		if (w->way == WAY_DISK && i % REPORT == REPORT - 1) {
			printf("at %u\n", w->first / PART);
			fflush(stdout);
		}
	}
	settle(w);
}

static void verify(struct worker *w, unsigned n)
{
	w->way = WAY_NOTHING;
	work(w, n);
	w->way = WAY_DISK;
	for (uint32_t at = 0; at < PART; at += UNIT) {
		check_blocks(w, at, UNIT);
		if (at % (UNIT * 16) == 0) {
			printf("verified %u\n", w->first / PART);
			fflush(stdout);
		}
	}
}

static struct worker worker(int fd, enum way way, uint64_t seed, unsigned index)
{
	return (struct worker){ .fd = fd,
				.way = way,
				.seed = seed,
				.state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + index,
				.first = index * PART };
}

/* All workers at once, each in a process. False: one has failed. */
static bool run_workers(int fd, uint64_t seed, unsigned n, void (*what)(struct worker *, unsigned))
{
	long n_processors = sysconf(_SC_NPROCESSORS_ONLN);
	int status;
	bool all = true;

	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker w = worker(fd, WAY_DISK, seed, i);
		cpu_set_t mine;

		if (fork())
			continue;
		CPU_ZERO(&mine);
		CPU_SET(i % n_processors, &mine);
		if (sched_setaffinity(0, sizeof(mine), &mine))
			fail("sched_setaffinity", i);
		what(&w, n);
		_exit(0);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		all &= wait(&status) > 0 && !status;
	return all;
}

/* ---- the guest ---- */

static void load_modules(void)
{
	static const char *const names[] = {
		"/virtio_ring.ko",           "/virtio.ko",     "/virtio_pci_legacy_dev.ko",
		"/virtio_pci_modern_dev.ko", "/virtio_pci.ko", "/virtio_blk.ko"
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd = open(names[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			fail(names[i], i);
		close(fd);
	}
}

/* How many queues the driver uses is told by the directories below /sys/block/vda/mq. */
static void tell_queues(void)
{
	char name[64];
	unsigned n = 0;

	do
		snprintf(name, sizeof(name), "/sys/block/vda/mq/%u", n);
	while (!access(name, F_OK) && ++n);
	printf("queues %u\n", n);
	fflush(stdout);
}

static int open_disk(void)
{
	if (mount("none", "/dev", "devtmpfs", 0, NULL) || mount("none", "/sys", "sysfs", 0, NULL))
		fail("mount", 0);
	load_modules();
	for (unsigned i = 0; i < 1000; i++) {
		int fd = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);

		if (fd >= 0)
			return fd;
		usleep(20000);
	}
	fail("/dev/vda", 0);
}

static uint64_t disk_len(int fd)
{
	uint64_t len;

	if (ioctl(fd, BLKGETSIZE64, &len))
		fail("size", 0);
	return len;
}

static void wait_until_longer(int fd, uint64_t first)
{
	for (unsigned i = 0; disk_len(fd) == first && i < 6000; i++)
		usleep(10000);
	printf("size %llu\n", (unsigned long long)disk_len(fd));
	fflush(stdout);
}

static void be_guest(uint64_t seed, unsigned n)
{
	int fd = open_disk();
	uint64_t len = disk_len(fd);

	tell_queues();
	move(fd, false, BLOCKS - 1, 1);
	if (holds(seed, BLOCKS - 1, MARK, buffer)) {
		printf("%s\n", run_workers(fd, seed, n, verify) ? "VERIFIED" : "FAILED");
		fflush(stdout);
		wait_until_longer(fd, len);
		return;
	}
	if (!run_workers(fd, seed, n, work))
		return;
	fill(seed, BLOCKS - 1, MARK, (uint64_t *)buffer);
	move(fd, true, BLOCKS - 1, 1);
	if (fsync(fd))
		fail("flush", BLOCKS - 1);
	printf("WRITTEN\n");
	fflush(stdout);
	reboot(RB_AUTOBOOT);
}

/* ---- the host ---- */

static void fill_file(int fd, uint64_t seed)
{
	for (uint32_t block = 0; block < BLOCKS; block++) {
		fill(seed, block, 0, (uint64_t *)buffer);
		move(fd, true, block, 1);
	}
}

static void write_file(int fd, uint64_t seed, unsigned n)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker w = worker(fd, WAY_FILE, seed, i);

		work(&w, n);
	}
	fill(seed, BLOCKS - 1, MARK, (uint64_t *)buffer);
	move(fd, true, BLOCKS - 1, 1);
}

int main(int argc, char **argv)
{
	int fd;

	if (getpid() == 1) {
		if (argc == 3 && !fork()) {
			be_guest(strtoull(argv[1], NULL, 10), atoi(argv[2]));
			_exit(0);
		}
		wait(NULL);
		reboot(RB_POWER_OFF);
	}
	fd = argc > 3 ? open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
	if (fd < 0)
		fail("usage: fill|write FILE SEED [N]", 0);
	if (argc == 4 && !strcmp(argv[1], "fill"))
		fill_file(fd, strtoull(argv[3], NULL, 10));
	else if (argc == 5 && !strcmp(argv[1], "write"))
		write_file(fd, strtoull(argv[3], NULL, 10), atoi(argv[4]));
	else
		fail("usage: fill|write FILE SEED [N]", 0);
	return 0;
}
