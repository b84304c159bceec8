/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The log of changed pages. What a guest's requests may change is known here, so
 * a page that is missing and one too many are both found: the first is lost in a
 * migration, the second is only moved once more, but would hide a log of everything.
 */
#include "tests/serve/hostile.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/serve/block.h"

#define PAGE 4096u

/* 8 pages of a byte: the guest's first 32 KiB, where the ring is. */
#define TINY_LOG 1u

struct log_wanted {
	uint8_t bits[((UINT64_C(1) << 32) + (64 << 20)) / PAGE / 8];
};

static struct log_wanted wanted;

static void log_want(const struct front *front, const void *place, uint64_t len)
{
	uint64_t first = front_guest_addr(front, place);

	for (uint64_t page = first / PAGE; page <= (first + len - 1) / PAGE; page++)
		wanted.bits[page / 8] |= 1u << page % 8;
}

/* All of the used ring: a frontend learns of it as one piece. */
static void log_want_request(const struct front *front, const struct front_queue *q, int slot)
{
	log_want(front, q->used, 4 + q->size * sizeof(struct vring_used_elem) + 2);
	log_want(front, q->ends + slot * 32 + 16, 1);
	if (q->slots[slot].type == BLOCK_READ || q->slots[slot].type == BLOCK_ID)
		log_want(front, front_data(q, slot), q->slots[slot].len);
}

/* One request of that type in each slot, all at once; what is written is the disk's own byte. Where
 * the log is that of all memory, data lies in both of its regions. */
static void log_fill(const struct hostile *h, struct front *front, uint32_t type, uint32_t len)
{
	struct front_queue *q = &front->queues[0];
	uint8_t status;
	int slot;

	while ((slot = front_slot(q)) >= 0) {
		memset(front_data(q, slot), h->first, len);
		front_submit(front, q, slot, type, (uint64_t)slot * (FRONT_DATA_LEN / 512), len);
		log_want_request(front, q, slot);
	}
	front_kick(q);
	for (unsigned i = 0; i < q->n_slots; i++)
		if (front_wait(q, &status, FRONT_PATIENCE_MS) < 0 || status)
			front_fail("a request of type %u fails", type);
}

static void log_judge(const struct front *front, const char *what)
{
	for (uint64_t page = 0; page < front->log_len * 8; page++) {
		bool is = front->log[page / 8] >> page % 8 & 1;

		if (is != (wanted.bits[page / 8] >> page % 8 & 1))
			front_fail("%s: page %llu %s in the log", what, (unsigned long long)page,
				   is ? "was not written to, and is"
				      : "was written to, and is not");
	}
}

static void log_clear(struct front *front)
{
	memset(&wanted, 0, sizeof(wanted));
	memset(front->log, 0, front->log_len);
}

/* The device runs, and its log is on: of len bytes, or of all memory where that is 0. */
static void log_start(struct hostile *h, struct front *front, size_t len)
{
	hostile_start(h, front);
	front->log_len = len;
	if (!front_say(front, VHOST_SET_LOG_BASE, 0))
		front_fail("no log");
	front->features |= VHOST_BIT(VHOST_LOG_ALL);
	if (!front_say(front, VHOST_SET_FEATURES, 0) || !front_say(front, VHOST_SET_VRING_ADDR, 0))
		front_fail("the log can't be switched on");
	log_clear(front);
}

static void log_stop(struct hostile *h, struct front *front)
{
	if (!order_stop(front, h->order))
		front_fail("the backend does not stop");
	front_close(front);
}

static void log_exact(struct hostile *h, bool indirect)
{
	static const struct {
		uint32_t type, len;
	} kinds[] = { { BLOCK_READ, 512 },        { BLOCK_READ, PAGE },
		      { BLOCK_READ, 60 * 1024 },  { BLOCK_WRITE, PAGE },
		      { BLOCK_ID, BLOCK_ID_LEN }, { BLOCK_READ, 3 * PAGE + 512 } };
	struct front front;

	log_start(h, &front, 0);
	front.queues[0].indirect = indirect;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint32_t type = kinds[i].type;

		log_fill(h, &front, type, kinds[i].len);
		log_judge(&front, type == BLOCK_READ ? "reads"
				  : type == BLOCK_ID ? "names"
						     : "writes");
		log_clear(&front);
	}
	front.features &= ~VHOST_BIT(VHOST_LOG_ALL);
	if (!front_say(&front, VHOST_SET_FEATURES, 0))
		front_fail("the log can't be switched off");
	log_fill(h, &front, BLOCK_READ, PAGE);
	memset(&wanted, 0, sizeof(wanted));
	log_judge(&front, "the log is off");
	log_stop(h, &front);
}

/* Pages behind its end are in no log, and what lies behind it in its file is left alone. */
static void log_short(struct hostile *h, size_t len)
{
	uint8_t behind[PAGE] = { 0 };
	struct front front;

	log_start(h, &front, len);
	if (ftruncate(front.log_fd, 2 * PAGE))
		front_fail("ftruncate");
	log_fill(h, &front, BLOCK_READ, FRONT_DATA_LEN / 2);
	log_judge(&front, "a short log");
	if (pread(front.log_fd, behind, PAGE, len) != PAGE ||
	    memcmp(behind, (const uint8_t[PAGE]){ 0 }, PAGE) != 0)
		front_fail("a log of %zu bytes was written behind its end", len);
	log_stop(h, &front);
}

/* The connection may end; the backend may not. */
static void log_truncated(struct hostile *h)
{
	struct front front;
	struct front_queue *q;
	int slot;

	log_start(h, &front, 0);
	q = &front.queues[0];
	if (ftruncate(front.log_fd, 0))
		front_fail("ftruncate");
	while ((slot = front_slot(q)) >= 0)
		front_submit(&front, q, slot, BLOCK_READ, 0, PAGE);
	front_kick(q);
	front_say(&front, VHOST_GET_VRING_BASE, 0);
	front_close(&front);
	hostile_judge(h);
}

/* A log that its file does not have, or that is no file. */
static void log_refused(struct hostile *h, uint64_t len, uint64_t off, int fd)
{
	const struct vhost_log_message m = { .len = len, .mmap_off = off };
	struct vhost_message answer;
	struct front front;

	hostile_start(h, &front);
	if (front_send(&front, VHOST_SET_LOG_BASE, 0, &m, sizeof(m), &fd, 1) &&
	    front_receive(&front, VHOST_SET_LOG_BASE, &answer, NULL))
		front_fail("a log of %llu bytes at %llu is taken", (unsigned long long)len,
			   (unsigned long long)off);
	front_close(&front);
	hostile_judge(h);
}

void hostile_log(struct hostile *h)
{
	int fd = memfd_create("log", MFD_CLOEXEC), ends[2];

	if (fd < 0 || ftruncate(fd, PAGE) || pipe(ends))
		front_fail("no memory");
	log_exact(h, false);
	log_exact(h, true);
	log_short(h, TINY_LOG);
	log_short(h, PAGE);
	log_truncated(h);
	log_refused(h, PAGE + 1, 0, fd);
	log_refused(h, PAGE, 1, fd);
	log_refused(h, 0, 0, fd);
	log_refused(h, UINT64_MAX, 0, fd);
	log_refused(h, PAGE, UINT64_MAX - PAGE + 1, fd);
	log_refused(h, PAGE, 0, ends[0]);
	close(fd);
	close(ends[0]);
	close(ends[1]);
}
