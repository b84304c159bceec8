/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The one program of a Linux guest, whose /init it is; on the host it makes the
 * same requests to a file, which says what the guest's disk must hold.
 *
 *	guest fill FILE SEED		what the disk holds at first
 *	guest write FILE SEED N ROUNDS	N requests of each worker in a round
 *	/init SEED N			on /dev/vda: a round, which ends with verifying, then
 *					leaves a mark and boots anew; where the mark is there,
 *					verifies, waits until the disk is longer, and switches off
 *	/init SEED N longer		the same with round after round until the disk is longer,
 *					and nothing to wait for
 *	/init SEED N plugged		waits for /dev/vda: a round, and a mark; when the disk has
 *					gone and come again, verifies; then it does nothing
 *
 * The requests are drawn from the seed alone, so a guest that boots again knows them, too. Each
 * worker has a part of the disk, and one request in flight; it runs on a processor of its own or
 * with another one, so that every queue has requests.
 */
#include "guest_work.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ROUNDS 512u /* the mark tells how many there were */

struct plan {
	uint64_t seed;
	unsigned n;
	bool until_longer;
	bool is_plugged;
};

/* In memory that processes share. */
static struct worker *make_workers(int fd, const struct plan *plan)
{
	struct worker *workers = mmap(NULL, WORKERS * sizeof(*workers), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (workers == MAP_FAILED)
		fail("mmap", 0);
	for (unsigned i = 0; i < WORKERS; i++)
		workers[i] = worker(fd, WAY_DISK, plan->seed, i);
	return workers;
}

/* All at once, each in a process: a round, or, where some are over, verifying them. False: one has
 * failed. */
static bool run_workers(struct worker *workers, const struct plan *plan, unsigned rounds)
{
	long n_processors = sysconf(_SC_NPROCESSORS_ONLN);
	int status;
	bool all = true;

	for (unsigned i = 0; i < WORKERS; i++) {
		cpu_set_t mine;

		if (fork())
			continue;
		CPU_ZERO(&mine);
		CPU_SET(i % n_processors, &mine);
		if (sched_setaffinity(0, sizeof(mine), &mine))
			fail("sched_setaffinity", i);
		if (rounds)
			verify(&workers[i], plan->n, rounds);
		else
			work(&workers[i], plan->n);
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

static void mount_all(void)
{
	if (mount("none", "/dev", "devtmpfs", 0, NULL) || mount("none", "/sys", "sysfs", 0, NULL))
		fail("mount", 0);
}

static int open_disk(void)
{
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

static void leave_mark(int fd, uint64_t seed, unsigned rounds)
{
	write_block(fd, seed, BLOCKS - 1, MARK - rounds);
	if (fsync(fd))
		fail("flush", BLOCKS - 1);
}

/* How many rounds the guest had made before it booted anew; 0: it has not. */
static unsigned find_mark(int fd, uint64_t seed)
{
	for (unsigned rounds = 1; rounds <= MAX_ROUNDS; rounds++)
		if (has_block(fd, seed, BLOCKS - 1, MARK - rounds))
			return rounds;
	return 0;
}

static void wait_until_gone(void)
{
	for (unsigned i = 0; !access("/dev/vda", F_OK); i++) {
		if (i == 3000)
			fail("the disk does not go", 0);
		usleep(20000);
	}
	printf("GONE\n");
	fflush(stdout);
}

static void be_plugged(const struct plan *plan)
{
	for (unsigned rounds = 0; rounds < 2; rounds++) {
		int fd;
		bool is_good;

		printf("READY\n");
		fflush(stdout);
		fd = open_disk();
		is_good = find_mark(fd, plan->seed) == rounds &&
			  run_workers(make_workers(fd, plan), plan, rounds);
		if (!rounds)
			leave_mark(fd, plan->seed, 1);
		close(fd);
		printf("%s\n", !is_good ? "FAILED" : rounds ? "VERIFIED" : "WRITTEN");
		fflush(stdout);
		wait_until_gone();
	}
	pause();
}

static void be_guest(const struct plan *plan)
{
	int fd = open_disk();
	uint64_t len = disk_len(fd);
	struct worker *workers = make_workers(fd, plan);
	unsigned rounds = find_mark(fd, plan->seed);

	tell_queues();
	if (rounds) {
		printf("%s\n", run_workers(workers, plan, rounds) ? "VERIFIED" : "FAILED");
		fflush(stdout);
		if (!plan->until_longer)
			wait_until_longer(fd, len);
		return;
	}
	do {
		if (rounds == MAX_ROUNDS || !run_workers(workers, plan, 0))
			return;
		printf("round %u\n", ++rounds);
		fflush(stdout);
	} while (plan->until_longer && disk_len(fd) == len);
	leave_mark(fd, plan->seed, rounds);
	printf("WRITTEN\n");
	fflush(stdout);
	reboot(RB_AUTOBOOT);
}

/* ---- the host ---- */

static void fill_file(int fd, uint64_t seed)
{
	for (uint32_t block = 0; block < BLOCKS; block++)
		write_block(fd, seed, block, 0);
}

static void write_file(int fd, uint64_t seed, unsigned n, unsigned rounds)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker w = worker(fd, WAY_FILE, seed, i);

		for (unsigned k = 0; k < rounds; k++)
			work(&w, n);
	}
	write_block(fd, seed, BLOCKS - 1, MARK - rounds);
}

static unsigned long number(const char *word)
{
	return strtoul(word, NULL, 10);
}

static void run_init(int argc, char **argv)
{
	struct plan plan = { 0 };

	if (argc == 3 || argc == 4)
		plan = (struct plan){ number(argv[1]), number(argv[2]),
				      argc == 4 && !strcmp(argv[3], "longer"),
				      argc == 4 && !strcmp(argv[3], "plugged") };
	if (plan.n && !fork()) {
		mount_all();
		load_modules();
		if (plan.is_plugged)
			be_plugged(&plan);
		else
			be_guest(&plan);
		_exit(0);
	}
	wait(NULL);
	reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
	int fd;

	if (getpid() == 1)
		run_init(argc, argv);
	fd = argc > 3 ? open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
	if (fd < 0)
		fail("usage: fill FILE SEED, or write FILE SEED N ROUNDS", 0);
	if (argc == 4 && !strcmp(argv[1], "fill"))
		fill_file(fd, number(argv[3]));
	else if (argc == 6 && !strcmp(argv[1], "write"))
		write_file(fd, number(argv[3]), number(argv[4]), number(argv[5]));
	else
		fail("usage: fill FILE SEED, or write FILE SEED N ROUNDS", 0);
	return 0;
}
