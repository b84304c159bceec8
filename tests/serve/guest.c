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
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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
	if (has_block(fd, seed, BLOCKS - 1, MARK)) {
		printf("%s\n", run_workers(fd, seed, n, verify) ? "VERIFIED" : "FAILED");
		fflush(stdout);
		wait_until_longer(fd, len);
		return;
	}
	if (!run_workers(fd, seed, n, work))
		return;
	write_block(fd, seed, BLOCKS - 1, MARK);
	if (fsync(fd))
		fail("flush", BLOCKS - 1);
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

static void write_file(int fd, uint64_t seed, unsigned n)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker w = worker(fd, WAY_FILE, seed, i);

		work(&w, n);
	}
	write_block(fd, seed, BLOCKS - 1, MARK);
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
