/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests to a disk, of vectors in any layout; and which writes a killed process would lose. */
#include <string.h>

#include <criterion/criterion.h>

#include "tools/serve/durable.h"
#include "tools/serve/spin.h"
#include "tools/vhost/blk.h"
#include "tools/vhost/blk_config.h"

#define MB (1024u * 1024)

static const struct blk_disk disk = { .len = 4 * MB + 100,
				      .features = VHOST_BIT(VIRTIO_BLK_DISCARD) |
						  VHOST_BIT(VIRTIO_BLK_WRITE_ZEROES),
				      .max_sectors = BLK_MAX_SECTORS };

struct header {
	uint32_t type, priority;
	uint64_t sector;
};

static uint8_t in_bytes[8 * MB], out_bytes[8 * MB];
static struct vhost_chain chain;
static struct blk_request r;

/* Vectors of `step` bytes each. */
static void split(struct iovec *iov, unsigned *n, uint8_t *bytes, uint64_t len, uint64_t step)
{
	for (uint64_t at = 0; at < len; at += step)
		iov[(*n)++] = (struct iovec){ bytes + at, len - at < step ? len - at : step };
}

static void decode(const struct blk_disk *d, uint32_t type, uint64_t sector, uint64_t in_len,
		   uint64_t out_len, uint64_t step)
{
	const struct header h = { type, 0, sector };

	memcpy(in_bytes, &h, sizeof(h));
	chain = (struct vhost_chain){ .in_len = in_len, .out_len = out_len };
	split(chain.iov, &chain.n_in, in_bytes, in_len, step);
	split(chain.iov + chain.n_in, &chain.n_out, out_bytes, out_len, step);
	blk_decode(d, &chain, &r);
}

static void expect_answer(enum blk_status status)
{
	cr_assert_eq(r.act, BLK_ANSWER);
	cr_assert_eq(r.status, status);
}

Test(vhost_blk, p13_header_and_status_may_lie_in_any_vectors)
{
	static const unsigned steps[] = { 5, 7, 16, 17, 100, 528, 4096, 1 << 20 };

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		uint64_t len = 0;

		decode(&disk, 0, 8, 16, 1025, steps[i]);
		cr_assert_eq(r.act, BLK_READ);
		cr_assert_eq(r.off, 4096);
		cr_assert_eq(r.len, 1024);
		cr_assert_eq(r.status_at, out_bytes + 1024);
		cr_assert_eq(r.used_len, 1025);
		for (unsigned v = 0; v < r.n_iov; v++)
			len += r.iov[v].iov_len;
		cr_assert_eq(len, 1024);
		decode(&disk, 1, 8, 16 + 1024, 1, steps[i]);
		cr_assert_eq(r.act, BLK_WRITE);
		cr_assert_eq(r.iov[0].iov_base, in_bytes + 16);
		cr_assert_eq(r.used_len, 1);
	}
}

Test(vhost_blk, what_has_no_header_or_no_status_is_answered_as_far_as_it_can_be)
{
	decode(&disk, 0, 0, 15, 513, 4096);
	expect_answer(BLK_IOERR);
	cr_assert_eq(r.status_at, out_bytes + 512);
	decode(&disk, 1, 0, 16 + 512, 0, 4096);
	expect_answer(BLK_IOERR);
	cr_assert_null(r.status_at);
	cr_assert_eq(r.used_len, 0);
	decode(&disk, 99, 0, 16, 1, 4096);
	expect_answer(BLK_UNSUPP);
}

Test(vhost_blk, transfers_end_inside_the_disk)
{
	decode(&disk, 0, 4 * MB / 512 - 1, 16, 513, 4096);
	cr_assert_eq(r.act, BLK_READ);
	decode(&disk, 0, 4 * MB / 512, 16, 513, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 0, 4 * MB / 512 - 1, 16, 1025, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 1, UINT64_MAX / 512 + 1, 16 + 512, 1, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 0, UINT64_MAX, 16, 513, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 0, 0, 16, 512, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 0, 0, 16, 4 * MB + 513, 8 * MB);
	expect_answer(BLK_IOERR);
}

Test(vhost_blk, a_disk_that_is_read_only_is_not_written_to)
{
	struct blk_disk only = disk;

	only.read_only = true;
	decode(&only, 1, 0, 16 + 512, 1, 4096);
	expect_answer(BLK_IOERR);
	decode(&only, 13, 0, 16 + 16, 1, 4096);
	expect_answer(BLK_IOERR);
	decode(&only, 0, 0, 16, 513, 4096);
	cr_assert_eq(r.act, BLK_READ);
}

static void put_range(unsigned i, uint64_t sector, uint32_t n_sectors, uint32_t flags)
{
	memcpy(in_bytes + 16 + 16 * i, &sector, 8);
	memcpy(in_bytes + 24 + 16 * i, &n_sectors, 4);
	memcpy(in_bytes + 28 + 16 * i, &flags, 4);
}

Test(vhost_blk, p12_ranges_are_judged_without_overflow)
{
	put_range(0, 0, 8, 0);
	put_range(1, 100, 4, 1);
	decode(&disk, 13, 0, 16 + 32, 1, 9);
	cr_assert_eq(r.act, BLK_ZEROES);
	cr_assert_eq(r.n_ranges, 2);
	cr_assert_eq(r.ranges[1].off, 51200);
	cr_assert_eq(r.ranges[1].len, 2048);
	cr_assert(r.ranges[1].unmap && !r.ranges[0].unmap);
	decode(&disk, 11, 0, 16 + 32, 1, 9);
	expect_answer(BLK_UNSUPP); /* a discard has no flags */
	put_range(0, 0, UINT32_MAX, 0);
	decode(&disk, 11, 0, 16 + 16, 1, 4096);
	expect_answer(BLK_IOERR); /* 32 bits of sectors, times 512 */
	put_range(0, UINT64_MAX - 3, 8, 0);
	decode(&disk, 11, 0, 16 + 16, 1, 4096);
	expect_answer(BLK_IOERR);
	put_range(0, 4 * MB / 512 - 4, 5, 0);
	decode(&disk, 11, 0, 16 + 16, 1, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 11, 0, 16 + 15, 1, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 11, 0, 16 + 17 * 16, 1, 4096);
	expect_answer(BLK_IOERR);
	decode(&disk, 11, 0, 16, 1, 4096);
	expect_answer(BLK_IOERR);
}

/* On a disk that has as many. */
Test(vhost_blk, p12_a_range_is_no_longer_than_was_told)
{
	static const uint32_t too_long[] = { BLK_MAX_SECTORS + 1, (1u << 23) + 8, UINT32_MAX };
	struct blk_disk large = disk;

	large.len = UINT64_C(1) << 42;
	put_range(0, 8, BLK_MAX_SECTORS, 0);
	decode(&large, 13, 0, 16 + 16, 1, 4096);
	cr_assert_eq(r.act, BLK_ZEROES);
	cr_assert_eq(r.ranges[0].len, UINT64_C(512) * BLK_MAX_SECTORS);
	for (unsigned i = 0; i < 3; i++) {
		put_range(0, 8, too_long[i], 0);
		decode(&large, 13, 0, 16 + 16, 1, 4096);
		expect_answer(BLK_IOERR);
	}
}

Test(vhost_blk, p13_a_name_is_as_long_as_there_is_room)
{
	for (unsigned len = 0; len <= 30; len++) {
		memset(out_bytes, 0xee, 64);
		decode(&disk, 8, 0, 16, len + 1, 3);
		cr_assert_eq(r.act, BLK_ID);
		cr_assert_eq(r.used_len, 1 + (len < 20 ? len : 20));
		blk_put_id(&r, "0123456789");
		cr_assert_eq(memcmp(out_bytes, "0123456789", len < 10 ? len : 10), 0);
		for (unsigned i = 10; i < len && i < 20; i++)
			cr_assert_eq(out_bytes[i], 0);
		cr_assert_eq(out_bytes[len < 20 ? len : 20], 0xee, "behind its end");
	}
	decode(&disk, 8, 0, 16, 21, 64);
	blk_put_id(&r, "a name of more than twenty bytes");
	cr_assert_eq(memcmp(out_bytes, "a name of more than twenty bytes", 20), 0);
}

/* ---- which writes a killed process would lose ---- */

Test(serve_durable, a_granule_is_known_when_a_durable_write_is_over)
{
	struct durable d;

	durable_open(&d, 1000 * 100 + 1, 1000);
	cr_assert(!durable_has(&d, 0, 1));
	durable_add(&d, durable_epoch(&d), 1500, 1000);
	cr_assert(durable_has(&d, 1000, 2000), "its cluster is whole");
	cr_assert(!durable_has(&d, 999, 2));
	cr_assert(!durable_has(&d, 2999, 2));
	durable_add(&d, durable_epoch(&d), 100000, 1);
	cr_assert(durable_has(&d, 100000, 1), "the last one");
	durable_close(&d);
}

Test(serve_durable, what_is_cleared_is_not_known_and_proves_nothing_beside_it)
{
	struct durable d;
	uint64_t epoch;

	durable_open(&d, 100000, 1000);
	durable_add(&d, durable_epoch(&d), 0, 10000);
	epoch = durable_epoch(&d);
	durable_clear_begin(&d);
	durable_clear(&d, 2500, 1000);
	cr_assert(!durable_has(&d, 2000, 1) && !durable_has(&d, 3999, 1));
	cr_assert(durable_has(&d, 0, 2000));
	durable_add(&d, durable_epoch(&d), 2000, 1000);
	cr_assert(!durable_has(&d, 2000, 1), "the write may be before the discard");
	durable_clear_end(&d);
	durable_add(&d, epoch, 2000, 1000);
	cr_assert(!durable_has(&d, 2000, 1), "it began before the discard's end");
	durable_add(&d, durable_epoch(&d), 2000, 1000);
	cr_assert(durable_has(&d, 2000, 1000));
	durable_close(&d);
}

Test(serve_durable, without_tables_all_is_known)
{
	struct durable d;

	durable_open(&d, 1 << 30, 0);
	cr_assert(durable_has(&d, 5, 1 << 20));
	durable_close(&d);
}

/* ---- how long the server looks for work ---- */

Test(serve_spin, it_grows_while_waits_are_short_and_ends_when_the_guest_is_idle)
{
	struct spin spin = { 0 };

	spin_learn(&spin, 1000000, 1000000);
	cr_assert_eq(spin.ns, 0, "an idle guest costs nothing");
	for (int i = 0; i < 10; i++)
		spin_learn(&spin, SPIN_SHORT_NS, SPIN_SHORT_NS);
	cr_assert_eq(spin.ns, SPIN_MAX_NS);
	spin_learn(&spin, 3000, 0);
	cr_assert_eq(spin.ns, SPIN_MAX_NS, "work was found by looking");
	for (int i = 0; i < 5; i++)
		spin_learn(&spin, SPIN_SHORT_NS + 1, SPIN_SHORT_NS - SPIN_MAX_NS);
	cr_assert_eq(spin.ns, 0);
}

Test(serve_spin, where_other_programs_want_the_core_it_sleeps)
{
	struct spin spin = { 0 };

	for (int i = 0; i < 100; i++) {
		cr_assert(spin_take_look(&spin));
		spin_looked(&spin, SPIN_TAKEN_NS);
	}
	spin_looked(&spin, SPIN_TAKEN_NS + 1);
	for (unsigned i = 0; i < SPIN_TAKEN_WAITS; i++)
		cr_assert_not(spin_take_look(&spin), "wait %u", i);
	cr_assert(spin_take_look(&spin), "it tries again");
}
