/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest at work on an image, for the black-box tests: random requests,
 * several in flight, checked against a flat copy of the disk in memory, while
 * the chain is pulled in beneath. Ranges in flight never overlap, so that each
 * byte has one legal value; what overlaps is the simulator's (test_model.c).
 *
 *   guest_driver IMAGE FORMAT FLAT SEED N_OPS WORDS...
 *
 * FLAT holds the disk's content and is written back as it must be at the end.
 * WORDS: threads (no io_uring); poll (a loop of its own); cor; pull; abort; no-discard.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/random.h"

#define MAX_IN_FLIGHT 16
#define MAX_LEN       (300 * 1024)
#define ARRAY_LEN(a)  (sizeof(a) / sizeof((a)[0]))

enum kind {
	READ,
	WRITE,
	ZEROES,
	DISCARD,
	FLUSH,
	STATUS
};

struct request {
	int busy;
	enum kind kind;
	uint64_t off, len;
	uint8_t *buf;
	uint8_t fill;
	struct bpull_extent extents[8];
};

static uint64_t state;
static uint8_t *flat;
static uint8_t *known; /* 0: discarded, so zero or as it was */
static uint64_t flat_len;
static struct request requests[MAX_IN_FLIGHT];
static unsigned n_in_flight;
static int job_over, job_status, own_loop;

static void die(const char *what, int error)
{
	fprintf(stderr, "guest_driver: %s: %s\n", what, strerror(-error));
	exit(1);
}

static uint64_t draw_below(uint64_t n)
{
	return n ? (random_step(&state) * UINT64_C(2685821657736338717) >> 11) % n : 0;
}

static void load(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &st))
		die(path, -errno);
	flat_len = st.st_size;
	flat = malloc(flat_len + 1);
	known = malloc(flat_len + 1);
	memset(known, 1, flat_len);
	for (uint64_t at = 0; at < flat_len;) {
		ssize_t n = pread(fd, flat + at, flat_len - at, at);

		if (n <= 0)
			die(path, n ? -errno : -EIO);
		at += n;
	}
	close(fd);
}

static void store(const char *path)
{
	int fd = open(path, O_WRONLY);

	for (uint64_t at = 0; at < flat_len;) {
		ssize_t n = pwrite(fd, flat + at, flat_len - at, at);

		if (n <= 0)
			die(path, -errno);
		at += n;
	}
	close(fd);
}

static int overlaps(uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < MAX_IN_FLIGHT; i++) {
		const struct request *r = &requests[i];

		if (r->busy && r->kind != FLUSH && r->kind != STATUS && off < r->off + r->len &&
		    r->off < off + len)
			return 1;
	}
	return 0;
}

static void choose_range(struct request *r)
{
	static const uint64_t aligns[] = { 1, 512, 4096, 65536 };
	uint64_t align = aligns[draw_below(ARRAY_LEN(aligns))];
	uint64_t max = draw_below(4) ? 20000 : MAX_LEN;

	r->len = 1 + draw_below(max < flat_len ? max : flat_len);
	r->off = draw_below(flat_len - r->len + 1);
	if (align > 1) {
		r->off -= r->off % align;
		r->len += align - 1 - (r->len + align - 1) % align;
		if (r->off + r->len > flat_len)
			r->len = flat_len - r->off;
	}
}

static void submit(struct bpull_disk *disk, struct request *r)
{
	struct iovec iov[3];
	uint64_t cut = draw_below(r->len), cut2 = cut + draw_below(r->len - cut);
	uint32_t fua = draw_below(20) ? 0 : BPULL_IO_FUA;

	iov[0] = (struct iovec){ r->buf, cut };
	iov[1] = (struct iovec){ r->buf + cut, cut2 - cut };
	iov[2] = (struct iovec){ r->buf + cut2, r->len - cut2 };
	switch (r->kind) {
	case READ: bpull_read(disk, iov, 3, r->off, r); break;
	case WRITE: bpull_write(disk, iov, 3, r->off, fua, r); break;
	case ZEROES:
		bpull_write_zeroes(disk, r->off, r->len, fua | (draw_below(2) ? BPULL_IO_UNMAP : 0),
				   r);
		break;
	case DISCARD: bpull_discard(disk, r->off, r->len, r); break;
	case FLUSH: bpull_flush(disk, r); break;
	case STATUS: bpull_block_status(disk, r->off, r->len, r->extents, 8, r); break;
	}
}

static void start(struct bpull_disk *disk, int with_discard)
{
	static const enum kind kinds[] = { READ,  READ,  READ,   READ,   WRITE,   WRITE, WRITE,
					   WRITE, WRITE, ZEROES, ZEROES, DISCARD, FLUSH, STATUS };
	struct request *r = requests;

	while (r->busy)
		r++;
	*r = (struct request){ .busy = 1, .kind = kinds[draw_below(ARRAY_LEN(kinds))] };
	if (r->kind == DISCARD && !with_discard)
		r->kind = READ;
	do {
		r->busy = 0;
		choose_range(r);
		r->busy = 1;
	} while (r->kind != FLUSH && r->kind != STATUS && (r->busy = 0, overlaps(r->off, r->len)));
	r->busy = 1;
	r->buf = malloc(r->len);
	r->fill = 1 + draw_below(255);
	memset(r->buf, r->kind == WRITE ? r->fill : 0xee, r->len);
	n_in_flight++;
	submit(disk, r);
}

/* What may be zero or as before is what it was seen to be. */
static void check_read(const struct request *r)
{
	for (uint64_t i = 0; i < r->len; i++) {
		uint8_t *is = &flat[r->off + i];

		if (!known[r->off + i] && !r->buf[i])
			*is = 0;
		if (r->buf[i] != *is) {
			fprintf(stderr,
				"guest_driver: byte %llu reads %#x, not %#x (read %llu+%llu)\n",
				(unsigned long long)(r->off + i), r->buf[i], *is,
				(unsigned long long)r->off, (unsigned long long)r->len);
			exit(1);
		}
	}
}

static void finish(struct request *r, int error, int count)
{
	if (error)
		die("a request failed", error);
	switch (r->kind) {
	case READ: check_read(r); break;
	case WRITE:
		memset(flat + r->off, r->fill, r->len);
		memset(known + r->off, 1, r->len);
		break;
	case ZEROES:
		memset(flat + r->off, 0, r->len);
		memset(known + r->off, 1, r->len);
		break;
	case DISCARD: memset(known + r->off, 0, r->len); break;
	case STATUS:
		if (count < 1 || r->extents[0].start != r->off)
			die("block status is empty", -EIO);
		break;
	case FLUSH: break;
	}
	free(r->buf);
	r->busy = 0;
	n_in_flight--;
}

/* From the program's own loop, or by waiting. */
static int next_events(struct bpull_engine *engine, struct bpull_event *events, int max)
{
	struct pollfd ready = { .fd = bpull_engine_fd(engine), .events = POLLIN };
	int n = 0;

	if (!own_loop)
		return bpull_engine_wait(engine, events, max, 20000);
	while (!n && poll(&ready, 1, 20000) == 1)
		n = bpull_engine_process(engine, events, max);
	return n;
}

static void take(struct bpull_engine *engine)
{
	struct bpull_event events[8];
	int n = next_events(engine, events, 8);

	if (n <= 0)
		die("nothing happens", n ? n : -ETIMEDOUT);
	for (int i = 0; i < n; i++) {
		if (events[i].type == BPULL_EVENT_IO) {
			finish(events[i].user_data, events[i].error, events[i].count);
		} else {
			job_over = 1;
			job_status = events[i].status;
			if (events[i].status == BPULL_JOB_FAILED)
				fprintf(stderr, "guest_driver: job: %s\n", events[i].message);
		}
	}
}

static int word(int argc, char **argv, const char *which)
{
	for (int i = 6; i < argc; i++)
		if (!strcmp(argv[i], which))
			return 1;
	return 0;
}

/* Everything once more, so that what discards left is known; then the flat copy is as it is. */
static void read_all(struct bpull_engine *engine, struct bpull_disk *disk)
{
	for (uint64_t at = 0; at < flat_len; at += MAX_LEN) {
		struct request *r = &requests[0];

		*r = (struct request){ .busy = 1, .kind = READ, .off = at, .len = MAX_LEN };
		if (r->len > flat_len - at)
			r->len = flat_len - at;
		r->buf = malloc(r->len);
		n_in_flight++;
		submit(disk, r);
		while (n_in_flight)
			take(engine);
	}
}

int main(int argc, char **argv)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .memory = 16 << 20 };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_job_options jo = { .size = sizeof(jo) };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk;
	struct bpull_error error;
	unsigned long n_ops;

	if (argc < 6)
		return 2;
	load(argv[3]);
	state = strtoull(argv[4], NULL, 0) * UINT64_C(0x9e3779b97f4a7c15) + 1;
	n_ops = strtoul(argv[5], NULL, 0);
	eo.io = word(argc, argv, "threads") ? BPULL_IO_THREADS : BPULL_IO_AUTO;
	o.format = bpull_format_by_name(argv[2]);
	o.backing_format = BPULL_FORMAT_QCOW2; /* QED records none but raw */
	o.flags |= word(argc, argv, "cor") ? BPULL_DISK_COPY_ON_READ : 0;
	if (bpull_engine_open(&eo, &engine, &error) ||
	    bpull_disk_open(engine, argv[1], &o, &disk, &error)) {
		fprintf(stderr, "guest_driver: %s\n", error.message);
		bpull_engine_close(engine);
		free(flat);
		free(known);
		return 1;
	}
	if (bpull_disk_size(disk) != flat_len)
		die("sizes differ", -EINVAL);
	job_over = 1;
	own_loop = word(argc, argv, "poll");
	for (unsigned long i = 0; i < n_ops; i++) {
		if (job_over && i == n_ops / 4 && word(argc, argv, "pull")) {
			jo.bandwidth = draw_below(2) ? 20 << 20 : 0;
			if (bpull_job_start(disk, &jo, &error)) {
				fprintf(stderr, "guest_driver: %s\n", error.message);
				return 1;
			}
			job_over = 0;
		}
		if (i == n_ops / 2 && word(argc, argv, "abort"))
			bpull_job_abort(disk);
		if (!draw_below(50) && word(argc, argv, "cor"))
			bpull_disk_set_copy_on_read(disk, draw_below(2));
		start(disk, !word(argc, argv, "no-discard"));
		while (n_in_flight > draw_below(MAX_IN_FLIGHT))
			take(engine);
	}
	bpull_job_set_speed(disk, 0, 0);
	while (n_in_flight || !job_over)
		take(engine);
	if (word(argc, argv, "pull") && job_status != BPULL_JOB_COMPLETED &&
	    !(word(argc, argv, "abort") && job_status == BPULL_JOB_CANCELED))
		die("the job did not complete", -EIO);
	read_all(engine, disk);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	store(argv[3]);
	free(flat);
	free(known);
	return 0;
}
