/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What bpull_disk_get_stats() tells of each kind of request, those that wait included. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/time_limit.h"

static struct bpull_disk *disk;
static char id;

TIME_LIMIT(120);
TestSuite(api_stats, .init = api_rig_make_small, .fini = api_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(120));

static void ask_for_stats(struct bpull_disk_stats *stats)
{
	*stats = (struct bpull_disk_stats){ .size = sizeof(*stats) };
	cr_assert_eq(bpull_disk_get_stats(disk, stats), 0);
}

static uint64_t n_timed(const struct bpull_io_stats *stats)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BPULL_STATS_CELLS; i++)
		n += stats->latency[i];
	return n;
}

static void expect_stats(const char *name, const struct bpull_io_stats *stats, uint64_t requests,
			 uint64_t bytes, uint64_t refused)
{
	cr_assert_eq(stats->requests, requests, "%s: %llu", name,
		     (unsigned long long)stats->requests);
	cr_assert_eq(stats->bytes, bytes, "%s: %llu bytes", name, (unsigned long long)stats->bytes);
	cr_assert_eq(stats->errors, 0, "%s", name);
	cr_assert_eq(stats->refused, refused, "%s: %llu refused", name,
		     (unsigned long long)stats->refused);
	cr_assert_eq(n_timed(stats), requests, "%s: the histogram", name);
	cr_assert_eq(stats->total_ns > 0, requests > 0, "%s: no time passed", name);
}

Test(api_stats, each_kind_is_counted_as_it_was_asked)
{
	static uint8_t bytes[3 * MiB];
	struct iovec small = { bytes, 4096 }, large = { bytes, sizeof(bytes) };
	struct bpull_disk_stats stats;

	disk = api_rig_begin_guest(0);
	for (unsigned i = 0; i < 5; i++) {
		bpull_read(disk, &small, 1, 4096, &id);
		cr_assert_eq(api_rig_request(&id), 0);
	}
	bpull_read(disk, &large, 1, MiB, &id);
	cr_assert_eq(api_rig_request(&id), 0);
	bpull_read(disk, &small, 1, API_RIG_SMALL_LEN, &id);
	cr_assert_eq(api_rig_request(&id), -EINVAL);
	bpull_write(disk, &small, 1, 5 * MiB + 3, 0, &id);
	cr_assert_eq(api_rig_request(&id), 0);
	bpull_write(disk, &small, 1, 0, BPULL_IO_FUA, &id);
	cr_assert_eq(api_rig_request(&id), 0);
	bpull_write(disk, &small, 1, 0, 1u << 31, &id);
	cr_assert_eq(api_rig_request(&id), -EINVAL);
	bpull_write_zeroes(disk, 2 * MiB, 100, 0, &id);
	cr_assert_eq(api_rig_request(&id), 0);
	bpull_discard(disk, 0, 65536, &id);
	cr_assert_eq(api_rig_request(&id), 0);
	for (unsigned i = 0; i < 3; i++) {
		bpull_flush(disk, &id);
		cr_assert_eq(api_rig_request(&id), 0);
	}
	ask_for_stats(&stats);
	expect_stats("read", &stats.read, 6, 5 * 4096 + 3 * MiB, 1);
	expect_stats("write", &stats.write, 2, 2 * 4096, 1);
	expect_stats("write_zeroes", &stats.write_zeroes, 1, 100, 0);
	expect_stats("discard", &stats.discard, 1, 65536, 0);
	expect_stats("flush", &stats.flush, 3, 0, 0);
	cr_assert_eq(stats.write_end, 5 * MiB + 3 + 4096);
}

Test(api_stats, calls_that_wait_are_counted_too)
{
	static uint8_t bytes[4096];
	struct bpull_disk_stats stats;
	struct bpull_extent extent;

	disk = api_rig_begin_guest(BPULL_ENGINE_THREAD);
	ask_for_stats(&stats);
	expect_stats("before", &stats.read, 0, 0, 0);
	cr_assert_eq(bpull_pread(disk, bytes, sizeof(bytes), 0), 0);
	cr_assert_eq(bpull_pread(disk, bytes, sizeof(bytes), 0), 0);
	cr_assert_eq(bpull_pwrite(disk, bytes, sizeof(bytes), 8192, 0), 0);
	cr_assert_eq(bpull_pwrite(disk, bytes, 1, API_RIG_SMALL_LEN, 0), -EINVAL);
	cr_assert_eq(bpull_pflush(disk), 0);
	cr_assert_eq(bpull_pblock_status(disk, 0, MiB, &extent, 1), 1);
	ask_for_stats(&stats);
	expect_stats("read", &stats.read, 2, 8192, 0);
	expect_stats("write", &stats.write, 1, 4096, 1);
	expect_stats("flush", &stats.flush, 1, 0, 0);
}
