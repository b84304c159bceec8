/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The simulator itself: deterministic, out of order, strict with its callers,
 * failing when told to, and true to the bytes.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "io/file/file_holes.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"
#include "tests/machine/sim_one.h"
#include "tests/support/files/scratch.h"

/* A little storm of requests; its trace. */
static uint64_t storm(uint64_t seed)
{
	enum {
		N = 40
	};
	struct sim *sim = sim_new(seed);
	static char bufs[N][4096];
	struct io_req reqs[N] = { 0 };
	sim_file_put_hole(sim, "disk", 1 << 20);
	struct file *file = open_file(sim, "disk");
	for (unsigned i = 0; i < N; i++) {
		if (i % 3)
			io_req_write(&reqs[i], file, bufs[i], 4096, i * 8192);
		else
			io_req_read(&reqs[i], file, bufs[i], 4096, i * 8192);
		io_submit(sim_io(sim), &reqs[i]);
	}
	io_kick(sim_io(sim));
	wait_all(sim);
	uint64_t trace = sim_trace(sim) ^ sim_now_ns(sim);
	end(sim, file);
	return trace;
}

Test(sim_model, the_same_seed_gives_the_same_trace)
{
	unsigned same = 0;
	for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
		uint64_t trace = storm(seed);
		cr_assert_eq(trace, storm(seed), "seed %" PRIu64, seed);
		same += trace == storm(seed + 1);
	}
	cr_assert_eq(same, 0, "%u neighbours with one trace", same);
}

Test(sim_model, completions_come_out_of_order)
{
	unsigned late = 0, empty = 0;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct sim *sim = sim_new(seed);
		struct io_req reqs[20] = { 0 }, *out[1];
		static char buf[20][8];
		sim_file_put(sim, "disk", "01234567", 8);
		struct file *file = open_file(sim, "disk");
		for (unsigned i = 0; i < 20; i++) {
			io_req_read(&reqs[i], file, buf[i], 8, 0);
			io_submit(sim_io(sim), &reqs[i]);
		}
		io_kick(sim_io(sim));
		for (struct io_req *last = reqs; sim_io(sim)->n_in_flight;) {
			if (!io_reap(sim_io(sim), out, 1)) {
				empty++;
				continue;
			}
			late += out[0] < last;
			last = out[0];
		}
		end(sim, file);
	}
	cr_assert_gt(late, 20);
	cr_assert_gt(empty, 0, "no wake-up was ever for nothing");
}

Test(sim_model, what_is_not_kicked_never_happens)
{
	struct sim *sim = sim_new(1);
	struct io_req req = { 0 }, *out;
	sim_file_put(sim, "disk", "old", 3);
	struct file *file = open_file(sim, "disk");
	io_req_write(&req, file, "new", 3, 0);
	io_submit(sim_io(sim), &req);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(io_reap(sim_io(sim), &out, 1), 0);
	cr_assert_str_eq(AFTER(0, 3, SIM_CUT_ALL_KEPT), "old");
	io_kick(sim_io(sim));
	cr_assert_str_eq(AFTER(0, 3, SIM_CUT_ALL_KEPT), "new");
	wait_all(sim);
	end(sim, file);
}

Test(sim_model, faults_hit_the_nth_of_their_kind)
{
	struct sim *sim = sim_new(8);
	char buf[4];
	sim_file_put(sim, "disk", "....", 4);
	sim_file_put(sim, "other", "....", 4);
	struct file *file = open_file(sim, "disk"), *other = open_file(sim, "other");

	sim_fail(sim, &(struct sim_fault){ .op = SIM_READ, .nth = 2, .error = -EIO });
	cr_assert_eq(file_read(file, buf, 4, 0), 0);
	cr_assert_eq(put(sim, file, "x", 0), 1);
	cr_assert_eq(file_read(file, buf, 4, 0), -EIO);
	cr_assert_eq(file_read(file, buf, 4, 0), 0);
	cr_assert_eq(sim_n_faults_hit(sim), 1);

	sim_fail(sim, &(struct sim_fault){
			      .op = SIM_WRITE, .nth = 2, .error = -ENOSPC, .forever = true });
	cr_assert_eq(file_write(file, "x", 1, 0), 0);
	cr_assert_eq(file_write(file, "x", 1, 0), -ENOSPC);
	cr_assert_eq(put(sim, file, "x", 0), -ENOSPC);
	cr_assert_eq(file_write(other, "x", 1, 0), -ENOSPC);
	sim_clear_faults(sim);
	cr_assert_eq(file_write(file, "x", 1, 0), 0);

	sim_fail(sim,
		 &(struct sim_fault){ .op = SIM_SYNC, .nth = 1, .error = -EIO, .name = "other" });
	cr_assert_eq(file_sync(file), 0);
	cr_assert_eq(sync_file(sim, other), -EIO);
	sim_fail(sim, &(struct sim_fault){ .op = SIM_TRUNCATE, .nth = 1, .error = -EIO });
	cr_assert_eq(file_truncate(file, 1), -EIO);
	cr_assert_eq(file->len, 4);
	struct file_opener *opener = sim_opener(sim);
	struct file *third;
	sim_fail(sim, &(struct sim_fault){ .op = SIM_OPEN, .nth = 1, .error = -EACCES });
	cr_assert_eq(opener->open(opener, &(struct file_open){ .name = "disk" }, &third, NULL),
		     -EACCES);
	cr_assert_eq(sim_n_ops(sim, SIM_READ), 3);
	cr_assert_eq(sim_n_ops(sim, SIM_SYNC), 2);
	file_close(other);
	end(sim, file);
}

Test(sim_model, a_write_buffer_must_not_change_in_flight, .signal = SIGABRT)
{
	struct sim *sim = sim_new(9);
	char text[] = "abc";
	struct io_req req = { 0 };
	sim_file_put_hole(sim, "disk", 4096);
	io_req_write(&req, open_file(sim, "disk"), text, 3, 0);
	submit(sim, &req);
	text[1] = 'x';
	wait_all(sim);
}

Test(sim_model, a_read_buffer_holds_garbage_until_it_is_reaped)
{
	struct sim *sim = sim_new(10);
	struct io_req req = { 0 };
	char text[4] = "abc";
	sim_file_put(sim, "disk", "abc", 3);
	struct file *file = open_file(sim, "disk");
	io_req_read(&req, file, text, 3, 0);
	submit(sim, &req);
	cr_assert_neq(memcmp(text, "abc", 3), 0);
	wait_all(sim);
	cr_assert_str_eq(text, "abc");
	end(sim, file);
}

/* Like the backends, whose workers do what O_DIRECT would refuse. */
Test(sim_model, requests_off_the_grid_are_done)
{
	static char buf[8192] __attribute__((aligned(4096)));
	struct sim *sim = sim_new(11);
	struct io_req req = { 0 };
	sim_knobs(sim)->io_align = 512;
	sim_knobs(sim)->short_permille = 900;
	sim_file_put_hole(sim, "disk", 1 << 20);
	struct file *file = open_file(sim, "disk");
	cr_assert_eq(file->io_align, 512);
	io_req_read(&req, file, buf, 512, 100);
	cr_assert_eq(run(sim, &req), 512);
	io_req_read(&req, file, buf, 100, 512);
	cr_assert_eq(run(sim, &req), 100);
	io_req_write(&req, file, buf + 1, 512, 512);
	cr_assert_eq(run(sim, &req), 512);
	io_req_write(&req, file, buf, sizeof(buf), 512);
	cr_assert_eq(run(sim, &req), (int64_t)sizeof(buf));
	cr_assert_eq(file_write(file, "abc", 3, 5), 0, "blocking calls may be of any size");
	end(sim, file);
}

Test(sim_model, a_file_of_many_tib_costs_what_is_in_it)
{
	const uint64_t tib = UINT64_C(1) << 40;
	struct sim *sim = sim_new(12);
	struct file_status status;
	char buf[8];
	sim_file_put_hole(sim, "disk", 64 * tib);
	sim_file_poke(sim, "disk", "middle", 6, 32 * tib + 5000);
	struct file *file = open_file(sim, "disk");
	cr_assert_eq(file->len, 64 * tib);
	cr_assert_eq(file_status(file, 0, &status), 0);
	cr_assert(status.is_hole && status.len == 32 * tib + 4096);
	cr_assert_eq(file_status(file, 32 * tib + 5000, &status), 0);
	cr_assert(!status.is_hole && status.len == 8192 - 5000);
	cr_assert_eq(file_status(file, 32 * tib + 8192, &status), 0);
	cr_assert(status.is_hole && status.len == 32 * tib - 8192);
	cr_assert_eq(file_read(file, buf, 6, 32 * tib + 5000), 0);
	cr_assert_eq(memcmp(buf, "middle", 6), 0);
	cr_assert_eq(put(sim, file, "end", 64 * tib - 3), 3);
	struct sim *left = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_ALL_KEPT });
	sim_file_peek(left, "disk", buf, 3, 64 * tib - 3);
	cr_assert_eq(memcmp(buf, "end", 3), 0);
	sim_free(left);
	file_close(file);
	sim_knobs(sim)->no_holes = true;
	file = open_file(sim, "disk");
	cr_assert_eq(file_status(file, 0, &status), 0);
	cr_assert(!status.is_hole && status.len == 64 * tib);
	end(sim, file);
}

/* Random writes, punches, truncations and syncs, live and durable, each against an array. */
Test(sim_model, the_stores_hold_what_arrays_do)
{
	enum {
		LEN = 64 * 1024
	};
	static char live[LEN], durable[LEN], got[LEN], buf[LEN];
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *sim = sim_new(seed);
		uint64_t rng = seed, live_len = 0, durable_len = 0;
		memset(live, 0, LEN);
		memset(durable, 0, LEN);
		sim_file_put_hole(sim, "disk", 0);
		struct file *file = open_file(sim, "disk");
		for (unsigned step = 0; step < 200; step++) {
			rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407;
			uint64_t off = (rng >> 20) % LEN, n = (rng >> 40) % (LEN - off) / 4;
			if (rng >> 60 == 0) {
				cr_assert_eq(file_sync(file), 0);
				memcpy(durable, live, LEN);
				durable_len = live_len;
			} else if (rng >> 60 == 2) {
				file_discard(file, off, n);
				memset(live + off, 0, n);
			} else if (rng >> 60 == 1) {
				cr_assert_eq(file_truncate(file, off), 0);
				memset(live + off, 0, LEN - off);
				live_len = off;
			} else {
				memset(buf, (int)step + 1, n);
				memset(live + off, (int)step + 1, n);
				cr_assert_eq(file_write(file, buf, n, off), 0);
				live_len = n ? MAX(live_len, off + n) : live_len;
			}
			sim_file_peek(sim, "disk", got, LEN, 0);
			cr_assert_eq(memcmp(got, live, LEN), 0, "seed %" PRIu64 " step %u", seed,
				     step);
			cr_assert_eq(sim_file_len(sim, "disk"), live_len);
			struct sim *left = sim_cut(sim, &(struct sim_cut){ SIM_CUT_ALL_LOST });
			sim_file_peek(left, "disk", got, LEN, 0);
			cr_assert_eq(memcmp(got, durable, LEN), 0, "seed %" PRIu64 " step %u", seed,
				     step);
			cr_assert_eq(sim_file_len(left, "disk"), durable_len);
			sim_free(left);
			left = sim_cut(sim, &(struct sim_cut){ SIM_CUT_ALL_KEPT });
			sim_file_peek(left, "disk", got, LEN, 0);
			cr_assert_eq(memcmp(got, live, LEN), 0, "seed %" PRIu64 " step %u", seed,
				     step);
			sim_free(left);
		}
		end(sim, file);
	}
}

Test(sim_model, the_opener_knows_names_policy_and_locks)
{
	struct sim *sim = sim_new(13);
	struct file_opener *opener = sim_opener(sim);
	struct file *a, *b;
	struct err err;
	const char *dirs[] = { "/vm" };
	struct path_policy policy = { .dirs = dirs, .n_dirs = 1 };
	sim_file_put(sim, "/vm/x/../base", "base", 4);
	sim_file_put(sim, "secret", "x", 1);

	struct file_open how = { .name = "/vm/./base",
				 .policy = &policy,
				 .lock = FILE_LOCK_SHARED };
	cr_assert_eq(opener->open(opener, &how, &a, &err), 0);
	cr_assert_str_eq(a->name, "/vm/./base");
	cr_assert_str_eq(a->real_name, "/vm/base");
	cr_assert_eq(opener->open(opener, &how, &b, &err), 0);
	cr_assert_eq(a->ino, b->ino);
	file_close(b);
	how.lock = FILE_LOCK_OVERLAY;
	cr_assert_eq(opener->open(opener, &how, &b, &err), -EBUSY);
	file_close(a);
	cr_assert_eq(opener->open(opener, &how, &a, &err), 0);
	how.lock = FILE_LOCK_SHARED;
	cr_assert_eq(opener->open(opener, &how, &b, &err), -EBUSY);
	file_close(a);
	how.name = "/vm/../secret";
	cr_assert_eq(opener->open(opener, &how, &b, &err), -EPERM);
	how.name = "/vm/none";
	cr_assert_eq(opener->open(opener, &how, &b, &err), -ENOENT);

	cr_assert_eq(opener->create(opener, "/vm/new", &a, &err), 0);
	cr_assert_eq(opener->create(opener, "/vm/new", &b, &err), -EEXIST);
	file_close(a);
	sim_free(sim);
}

Test(sim_model, images_come_from_the_host_and_go_back, .init = scratch_make, .fini = scratch_remove)
{
	static char bytes[300000], back[300000];
	struct sim *sim = sim_new(14);
	struct stat st;
	memset(bytes + 100000, 'd', 1000);
	sim_file_put_hole(sim, "disk", sizeof(bytes));
	sim_file_poke(sim, "disk", bytes + 100000, 1000, 100000);
	cr_assert_eq(sim_file_to_host(sim, "disk", scratch("disk")), 0);
	cr_assert_eq(stat(scratch("disk"), &st), 0);
	cr_assert_eq(st.st_size, sizeof(bytes));
	cr_assert_lt(st.st_blocks * 512, 100000, "the holes were filled");
	cr_assert_eq(sim_file_from_host(sim, "back", scratch("disk")), 0);
	cr_assert_eq(sim_file_len(sim, "back"), sizeof(bytes));
	sim_file_peek(sim, "back", back, sizeof(back), 0);
	cr_assert_eq(memcmp(back, bytes, sizeof(bytes)), 0);
	cr_assert_eq(sim_file_from_host(sim, "none", scratch("none")), -ENOENT);
	sim_free(sim);
}
