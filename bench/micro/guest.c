/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest's read of 4 KiB, one in flight, from an image in the page cache: what the way through the
 * library costs, and one system call.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/micro/micro.h"
#include "engine/blockpull.h"
#include "io/base.h"

#define GUEST_LEN (64 * MiB)
#define READ_LEN  4096u

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static uint8_t *bytes;
static uint64_t rng = UINT64_C(0x9e3779b97f4a7c15);

/* Waits for the one request in flight. */
static int wait_for_end(void)
{
	struct bpull_event event;
	int n = bpull_engine_wait(engine, &event, 1, -1);

	return n < 0 ? n : event.error;
}

static int fill(void)
{
	struct iovec iov = { bytes, MiB };
	int rc = 0;

	for (uint64_t off = 0; off < GUEST_LEN && !rc; off += MiB) {
		bpull_write(disk, &iov, 1, off, 0, NULL);
		rc = wait_for_end();
	}
	return rc;
}

static int open_disk(const char *name)
{
	struct bpull_create_options create = { .size = sizeof(create),
					       .format = BPULL_FORMAT_QCOW2,
					       .virtual_size = GUEST_LEN };
	struct bpull_engine_options eo = { .size = sizeof(eo) };
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.flags = BPULL_DISK_GUEST_IO };
	int rc = bpull_create(name, &create, NULL);

	if (!rc)
		rc = bpull_engine_open(&eo, &engine, NULL);
	return rc ? rc : bpull_disk_open(engine, name, &o, &disk, NULL);
}

int micro_guest_open(const char *dir)
{
	char where[4096], name[4200];
	int rc;

	if (snprintf(where, sizeof(where), "%s/blockpull-micro.XXXXXX", dir) >= (int)sizeof(where))
		return -ENAMETOOLONG;
	if (!mkdtemp(where))
		return -errno;
	snprintf(name, sizeof(name), "%s/image", where);
	rc = open_disk(name);
	unlink(name);
	rmdir(where);
	bytes = aligned_alloc(4096, MiB);
	if (!rc && !bytes)
		rc = -ENOMEM;
	return rc ? rc : fill();
}

void micro_guest_close(void)
{
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	free(bytes);
}

static int read_guest(uint64_t n)
{
	struct iovec iov = { bytes, READ_LEN };
	int rc = 0;

	while (n-- && !rc) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		bpull_read(disk, &iov, 1, (rng >> 11) % (GUEST_LEN / READ_LEN) * READ_LEN, NULL);
		rc = wait_for_end();
	}
	return rc;
}

const struct micro micro_guest[] = {
	{ "guest-read", "reads", 1, read_guest },
};
const unsigned n_micro_guest = ARRAY_LEN(micro_guest);
