/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest on an image of any bytes while it is pulled: what it reads is what was
 * there, or what it wrote; at the end the image is clean and holds that. First byte:
 * the format, and whether a job runs; the requests are drawn from a hash of it all.
 * One at a time: many at once are the model test's.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <xxhash.h>

#include "engine/api/engine.h"
#include "io/base.h"
#include "tests/fuzz/world.h"

#define N_REQUESTS 14
#define MAX_LEN    (16 * KiB)

struct guest_play {
	struct sim *sim;
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	uint64_t guest_len, state;
	uint8_t *want;       /* NULL: not known */
	uint8_t *buf;        /* MAX_LEN */
	bool lost_certainty; /* a request failed: what it was to write may be there or not */
};

static uint64_t draw(struct guest_play *p, uint64_t n)
{
	p->state = p->state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return n ? (p->state >> 33) % n : 0;
}

/* The result of the request in flight. */
static int wait_for_it(struct guest_play *p)
{
	for (unsigned i = 0; i < 100000; i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(p->engine), .events = POLLIN };
		struct bpull_event event;

		if (bpull_engine_process(p->engine, &event, 1) == 1) {
			if (event.type == BPULL_EVENT_IO)
				return event.error;
			continue;
		}
		FUZZ_CHECK(poll(&ready, 1, 10000) == 1, "a request hangs");
	}
	FUZZ_CHECK(false, "a request does not end");
	return 0;
}

static void request(struct guest_play *p)
{
	uint64_t off = draw(p, p->guest_len), len = 1 + draw(p, MIN(p->guest_len - off, MAX_LEN));
	struct iovec iov = { p->buf, len };
	int rc, byte = (int)draw(p, 256);

	switch (draw(p, 6)) {
	case 0:
	case 1:
		memset(p->buf, byte, len);
		bpull_write(p->disk, &iov, 1, off, draw(p, 4) ? 0 : BPULL_IO_FUA, NULL);
		rc = wait_for_it(p);
		if (!rc && p->want)
			memset(p->want + off, byte, len);
		break;
	case 2:
		bpull_write_zeroes(p->disk, off, len, draw(p, 2) ? BPULL_IO_UNMAP : 0, NULL);
		rc = wait_for_it(p);
		if (!rc && p->want)
			memset(p->want + off, 0, len);
		break;
	case 3:
		bpull_flush(p->disk, NULL);
		rc = wait_for_it(p);
		break;
	default:
		bpull_read(p->disk, &iov, 1, off, NULL);
		rc = wait_for_it(p);
		FUZZ_CHECK(rc || !p->want || p->lost_certainty ||
				   !memcmp(p->buf, p->want + off, len),
			   "a read of %llu+%llu is wrong", (unsigned long long)off,
			   (unsigned long long)len);
		return;
	}
	p->lost_certainty |= rc != 0;
}

static int open_disk(struct guest_play *p, enum image_format format)
{
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)format,
		.backing_format = BPULL_FORMAT_RAW,
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | (draw(p, 2) ? BPULL_DISK_COPY_ON_READ : 0),
	};
	struct bpull_error error;
	int rc = engine_open_on(sim_io(p->sim), sim_opener(p->sim), SIM_PULL_MEMORY, &p->engine);

	FUZZ_CHECK(!rc, "no engine");
	return bpull_disk_open(p->engine, FUZZ_TOP, &o, &p->disk, &error);
}

/* What the guest reads of all of it. */
static void read_before(struct guest_play *p)
{
	p->want = sim_need(malloc(p->guest_len));
	for (uint64_t off = 0, len; off < p->guest_len; off += len) {
		struct iovec iov = { p->want + off, 0 };

		len = MIN(p->guest_len - off, UINT64_C(64) * KiB);
		iov.iov_len = len;
		bpull_read(p->disk, &iov, 1, off, NULL);
		if (!wait_for_it(p))
			continue;
		free(p->want); /* a part of it can't be read */
		p->want = NULL;
		return;
	}
}

static void play(struct guest_play *p, bool with_job)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_VERIFY };
	struct bpull_error error;

	p->buf = sim_need(malloc(MAX_LEN));
	read_before(p);
	if (with_job)
		bpull_job_start(p->disk, &o, &error);
	for (unsigned i = 0; i < N_REQUESTS; i++)
		request(p);
	bpull_engine_close(p->engine);
	p->engine = NULL;
	free(p->buf);
}

static void judge(struct guest_play *p, enum image_format format, const struct fuzz_look *before)
{
	struct fuzz_look after;

	fuzz_look(p->sim, format, false, &after);
	FUZZ_CHECK(!before->n_errors || before->is_dirty, "written to, and damaged");
	FUZZ_CHECK(!after.rc && !after.check_rc, "it does not open any more: %s", after.text);
	FUZZ_CHECK(!after.n_errors, "damaged by a guest");
	FUZZ_CHECK(!p->want || p->lost_certainty || after.read_rc ||
			   after.content == XXH3_64bits(p->want, p->guest_len),
		   "the content is not what the guest wrote");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum image_format format = size && data[0] & 1 ? IMAGE_QED : IMAGE_QCOW2;
	struct guest_play p = { .state = XXH3_64bits(data, size) };
	struct fuzz_look before;
	uint64_t was;

	if (!size)
		return 0;
	p.sim = fuzz_world(data + 1, size - 1);
	was = fuzz_file_hash(p.sim, FUZZ_TOP);
	fuzz_look(p.sim, format, false, &before);
	if (open_disk(&p, format)) {
		FUZZ_CHECK(fuzz_file_hash(p.sim, FUZZ_TOP) == was, "refused, and written to");
		bpull_engine_close(p.engine);
	} else {
		p.guest_len = bpull_disk_size(p.disk);
		if (p.guest_len && p.guest_len <= FUZZ_DISK_MAX) {
			play(&p, data[0] & 4);
			judge(&p, format, &before);
		}
		bpull_engine_close(p.engine);
	}
	free(p.want);
	sim_free(p.sim);
	return 0;
}
