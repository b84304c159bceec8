/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a simulated power cut loses: the crash tests of the engine stand on
 * this, so it must be known to lose and tear exactly what it says it does.
 */
#include "io/file/file_holes.h"
#include "tests/machine/sim_one.h"

Test(sim_model, only_what_was_complete_before_the_sync_is_durable)
{
	for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
		struct sim *sim = sim_new(seed);
		struct io_req late = { 0 }, sync = { 0 };
		sim_file_put(sim, "disk", "....", 4);
		struct file *file = open_file(sim, "disk");
		cr_assert_eq(put(sim, file, "a", 0), 1);
		cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "....");
		cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_KEPT), "a...");

		io_req_write(&late, file, "b", 1, 1);
		submit(sim, &late);
		io_req_sync(&sync, file);
		submit(sim, &sync);
		wait_all(sim);
		cr_assert_eq(sync.result, 0);
		cr_assert_eq(late.result, 1);
		/* Whichever of the two was reaped first, the write was in flight at the time. */
		cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "a...", "seed %" PRIu64, seed);
		cr_assert_eq(sim_n_uncertain(sim), 1);
		cr_assert_eq(sync_file(sim, file), 0);
		cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "ab..");
		cr_assert_eq(sim_n_uncertain(sim), 0);
		end(sim, file);
	}
}

Test(sim_model, blocking_calls_obey_the_same_rules)
{
	struct sim *sim = sim_new(3);
	sim_file_put(sim, "disk", "....", 4);
	struct file *file = open_file(sim, "disk");
	cr_assert_eq(file_write(file, "a", 1, 0), 0);
	cr_assert_eq(file_truncate(file, 2), 0);
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "....");
	struct sim *left = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_ONLY_LAST });
	cr_assert_eq(sim_file_len(left, "disk"), 2);
	sim_free(left);
	cr_assert_eq(file_sync(file), 0);
	left = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_ALL_LOST });
	cr_assert_eq(sim_file_len(left, "disk"), 2);
	sim_free(left);
	cr_assert_str_eq(AFTER(0, 2, SIM_CUT_ALL_LOST), "a.");
	end(sim, file);
}

Test(sim_model, a_punch_is_lost_or_kept_like_a_write)
{
	static char was[16384], is[16384];
	struct sim *sim = sim_new(7), *left;
	struct file_status status;

	memset(was, 'w', sizeof(was));
	sim_file_put(sim, "disk", was, sizeof(was));
	struct file *file = open_file(sim, "disk");
	file_discard(file, 1000, 8000);
	cr_assert_eq(file_read(file, is, sizeof(is), 0), 0);
	cr_assert(is[999] == 'w' && !is[1000] && !is[8999] && is[9000] == 'w');
	cr_assert_eq(file_status(file, 4096, &status), 0);
	cr_assert(status.is_hole && status.len == 4096, "whole pages are a hole");
	cr_assert_eq(sim_file_len(sim, "disk"), sizeof(was));
	cr_assert_str_eq(AFTER(998, 4, SIM_CUT_ALL_LOST), "wwww");
	cr_assert_str_eq(AFTER(998, 4, SIM_CUT_ALL_KEPT), "ww..");
	cr_assert_eq(put(sim, file, "new", 4096), 3);
	cr_assert_str_eq(AFTER(4095, 5, SIM_CUT_ONLY_LAST), "wneww");
	cr_assert_str_eq(AFTER(4095, 5, SIM_CUT_ONLY_FIRST), ".....");
	cr_assert_eq(sync_file(sim, file), 0);
	left = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_ALL_LOST });
	sim_file_peek(left, "disk", is, sizeof(is), 0);
	cr_assert(!is[8999] && is[9000] == 'w' && is[4096] == 'n');
	sim_free(left);

	sim_fail(sim, &(struct sim_fault){ .op = SIM_DISCARD, .nth = 1, .error = -EIO });
	file_discard(file, 0, 512);
	cr_assert_eq(sim_n_faults_hit(sim), 1);
	cr_assert_str_eq(AFTER(0, 2, SIM_CUT_NONE), "ww", "it was a hint");
	end(sim, file);
}

Test(sim_model, the_modes_keep_what_they_say)
{
	struct sim *sim = sim_new(4);
	sim_file_put(sim, "disk", "....", 4);
	struct file *file = open_file(sim, "disk");
	struct io_req flying = { 0 };
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(put(sim, file, (const char *[]){ "a", "b", "c" }[i], i), 1);
	io_req_write(&flying, file, "d", 1, 3);
	submit(sim, &flying);

	cr_assert_eq(sim_n_uncertain(sim), 4);
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "....");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_KEPT), "abcd");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ONLY_FIRST), "a...");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ONLY_LAST), "...d");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_PREFIX, .n = 3), "abc.");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_BUT, .n = 1), "a.cd");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_MASK, .mask = 0xa), ".b.d");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "....", "a cut changes nothing");
	wait_all(sim);
	end(sim, file);
}

static bool keep_low(void *arg, const char *name, uint64_t off, uint64_t len)
{
	cr_assert_str_eq(name, "/disk");
	return off + len <= *(uint64_t *)arg;
}

Test(sim_model, data_may_be_lost_and_its_tables_kept)
{
	struct sim *sim = sim_new(5);
	uint64_t tables = 2;
	sim_file_put(sim, "disk", "....", 4);
	struct file *file = open_file(sim, "disk");
	put(sim, file, "data", 2);
	put(sim, file, "tt", 0);
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_CHOSEN, .keep = keep_low, .arg = &tables), "tt..");
	end(sim, file);
}

/* Whole sectors are old or new, never a mixture, and all mixtures of sectors occur. */
Test(sim_model, random_cuts_tear_at_sectors)
{
	static char old[2048], new[2048], got[2048];
	unsigned seen[16] = { 0 };
	struct sim *sim = sim_new(6);
	memset(old, 'o', sizeof(old));
	memset(new, 'n', sizeof(new));
	sim_file_put(sim, "disk", old, sizeof(old));
	struct file *file = open_file(sim, "disk");
	struct io_req req = { 0 };
	io_req_write(&req, file, new, sizeof(new), 0);
	cr_assert_eq(run(sim, &req), (int64_t)sizeof(new));
	for (uint64_t seed = 0; seed < 1000; seed++) {
		struct sim *left =
			sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_RANDOM, .seed = seed });
		unsigned pattern = 0;
		sim_file_peek(left, "disk", got, sizeof(got), 0);
		for (unsigned i = 0; i < 4; i++) {
			bool is_new = got[i * 512] == 'n';
			cr_assert_eq(memcmp(got + i * 512, is_new ? new : old, 512), 0);
			pattern |= (unsigned)is_new << i;
		}
		seen[pattern]++;
		sim_free(left);
	}
	for (unsigned i = 0; i < 16; i++)
		cr_assert_gt(seen[i], 0, "pattern %x never came", i);
	cr_assert_gt(seen[0], 200, "absent as a whole");
	cr_assert_gt(seen[15], 200, "present as a whole");
	end(sim, file);
}

Test(sim_model, a_failed_sync_leaves_its_writes_in_doubt_for_ever)
{
	struct sim *sim = sim_new(7);
	sim_file_put(sim, "disk", "....", 4);
	struct file *file = open_file(sim, "disk");
	put(sim, file, "a", 0);
	sim_fail(sim, &(struct sim_fault){ .op = SIM_SYNC, .nth = 1, .error = -EIO });
	cr_assert_eq(sync_file(sim, file), -EIO);
	cr_assert_eq(sync_file(sim, file), 0, "the next one succeeds, as on Linux");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "....");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_KEPT), "a...");

	/* What is written over it later is durable, and the old write cannot come back. */
	put(sim, file, "b", 0);
	put(sim, file, "c", 1);
	cr_assert_eq(sync_file(sim, file), 0);
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_LOST), "bc..");
	cr_assert_str_eq(AFTER(0, 4, SIM_CUT_ALL_KEPT), "bc..");
	char now[4];
	sim_file_peek(sim, "disk", now, 4, 0);
	cr_assert_eq(memcmp(now, "bc..", 4), 0);
	end(sim, file);
}

Test(sim_model, a_failed_write_may_have_happened)
{
	unsigned fates[2] = { 0 };
	for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
		struct sim *sim = sim_new(seed);
		char now;
		sim_file_put(sim, "disk", ".", 1);
		struct file *file = open_file(sim, "disk");
		sim_fail(sim, &(struct sim_fault){ .op = SIM_WRITE, .nth = 1, .error = -EIO });
		cr_assert_eq(put(sim, file, "a", 0), -EIO);
		sim_file_peek(sim, "disk", &now, 1, 0);
		fates[now == 'a']++;
		cr_assert_eq(sync_file(sim, file), 0);
		cr_assert_eq(sim_n_uncertain(sim), 1);
		end(sim, file);
	}
	cr_assert(fates[0] > N_SEEDS / 4 && fates[1] > N_SEEDS / 4);
}

Test(sim_model, from_the_kth_operation_on_the_machine_is_off)
{
	for (uint64_t k = 1; k <= 8; k++) {
		struct sim *sim = sim_new(k);
		char now[8], text[2] = "a";
		sim_file_put(sim, "disk", "........", 8);
		struct file *file = open_file(sim, "disk"); /* operation 1 */
		sim_stop_at(sim, k + 1);
		for (unsigned i = 0; i < 8; i++) {
			int want = i + 1 < k ? 0 : SIM_STOPPED;
			text[0] = (char)('a' + i);
			if (i % 2)
				cr_assert_eq(file_write(file, text, 1, i), want);
			else
				cr_assert_eq(put(sim, file, text, i), want ? want : 1);
		}
		cr_assert(sim_is_stopped(sim));
		cr_assert_eq(file_read(file, now, 1, 0), SIM_STOPPED);
		cr_assert_eq(sync_file(sim, file), SIM_STOPPED);
		sim_file_peek(sim, "disk", now, 8, 0);
		for (unsigned i = 0; i < 8; i++)
			cr_assert_eq(now[i], i + 1 < k ? (char)('a' + i) : '.');
		/* The write the cut caught is in doubt, those after it never were. */
		cr_assert_eq(sim_n_uncertain(sim), k);
		struct sim *left = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_ALL_KEPT });
		sim_file_peek(left, "disk", now, 8, 0);
		for (unsigned i = 0; i < 8; i++)
			cr_assert_eq(now[i], i < k ? (char)('a' + i) : '.');
		cr_assert_not(sim_is_stopped(left));
		sim_free(left);
		end(sim, file);
	}
}

/* A pointer to data, with and without a barrier between: all cuts, and the simulator must find
 * the missing barrier while it clears the good order. */
static unsigned count_broken(bool barrier, uint64_t seed)
{
	struct sim *sim = sim_new(seed);
	unsigned broken = 0;
	sim_file_put(sim, "disk", "........", 8);
	struct file *file = open_file(sim, "disk");
	put(sim, file, "DATA", 4);
	if (barrier)
		cr_assert_eq(sync_file(sim, file), 0);
	put(sim, file, "P", 0);
	for (uint64_t mask = 0; mask < UINT64_C(1) << sim_n_uncertain(sim); mask++) {
		const char *text = AFTER(0, 8, SIM_CUT_MASK, .mask = mask);
		broken += text[0] == 'P' && memcmp(text + 4, "DATA", 4);
	}
	end(sim, file);
	return broken;
}

Test(sim_model, a_missing_barrier_is_found)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		cr_assert_eq(count_broken(true, seed), 0);
		cr_assert_eq(count_broken(false, seed), 1);
	}
}
