/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Snapshots of two disks at once under threads that write to both. Each guest writes its next
 * number to the first disk and then to the second, one request after the other. So each image below
 * holds, of each guest, what some number of its writes left: not fewer than were over when the call
 * began, not more than had begun when it returned; and of the second disk as many as of the first,
 * or one less. A snapshot that was not between two requests, or not of both disks at one moment,
 * shows.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/api/chains/snapshot_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define N_GUESTS    3
#define N_SLOTS     48u /* of each guest, written in turn */
#define SLOT_LEN    4096u
#define N_SNAPSHOTS 20

TIME_LIMIT(120);
TestSuite(snapshot_guests, .init = snap_begin, .fini = snap_end, .timeout = TIME_LIMIT_CLOCK(120));

static struct bpull_disk *disks[2];
static atomic_bool is_over;

struct guest {
	pthread_t thread;
	unsigned number;
	/* Writes to each disk. */
	atomic_uint begun[2], ended[2];
};

static struct guest guests[N_GUESTS];

/* Between two slots of a guest lie those of the others, so that they share clusters. */
static uint64_t slot_off(unsigned guest, unsigned n)
{
	return ((uint64_t)(n % N_SLOTS) * N_GUESTS + guest) * SLOT_LEN;
}

static void fill(uint32_t *slot, unsigned n)
{
	for (unsigned i = 0; i < SLOT_LEN / 4; i++)
		slot[i] = n;
}

/* Which of so many writes was the last one to the slot; 0: none. The n-th goes to n % N_SLOTS. */
static unsigned last_of(unsigned slot, unsigned n_writes)
{
	unsigned back = (n_writes % N_SLOTS + N_SLOTS - slot) % N_SLOTS;

	return n_writes > back ? n_writes - back : 0;
}

static void write_next(struct guest *g, unsigned n)
{
	uint32_t buf[SLOT_LEN / 4];

	fill(buf, n);
	for (unsigned d = 0; d < 2; d++) {
		atomic_store(&g->begun[d], n);
		cr_assert_eq(bpull_pwrite(disks[d], buf, sizeof(buf), slot_off(g->number, n), 0),
			     0);
		atomic_store(&g->ended[d], n);
	}
}

static void read_back(const struct guest *g, unsigned n, unsigned which)
{
	uint32_t buf[SLOT_LEN / 4], want = last_of(which % N_SLOTS, n);

	for (unsigned d = 0; d < 2; d++) {
		cr_assert_eq(bpull_pread(disks[d], buf, sizeof(buf), slot_off(g->number, which)),
			     0);
		cr_assert_eq(buf[7], want ? want : 0x5a5a5a5a,
			     "guest %u, slot %u: %u instead of %u", g->number, which % N_SLOTS,
			     buf[7], want);
	}
}

static void *run_guest(void *arg)
{
	struct guest *g = arg;

	for (unsigned n = 1; !atomic_load(&is_over); n++) {
		write_next(g, n);
		read_back(g, n, n * 7);
		if (n % 16 == 0)
			cr_assert_eq(bpull_pflush(disks[n / 16 % 2]), 0);
	}
	return NULL;
}

/* ---- what each snapshot may hold ---- */

static struct {
	unsigned at_least, at_most; /* writes of the guest to the disk */
} bounds[N_SNAPSHOTS][N_GUESTS][2];

static const char *head_name(unsigned d, unsigned i)
{
	static char name[2][32];

	if (!i)
		return d ? "other" : "top";
	snprintf(name[d], sizeof(name[d]), "%s-%u", d ? "other" : "top", i);
	return name[d];
}

static void take_both(unsigned i)
{
	struct bpull_create_options create = { .size = sizeof(create),
					       .cluster_size = i % 3 ? 0 : 4096 };
	struct bpull_snapshot both[2];

	for (unsigned d = 0; d < 2; d++)
		both[d] = (struct bpull_snapshot){ .size = sizeof(both[d]),
						   .disk = disks[d],
						   .path = scratch(head_name(d, i + 1)),
						   .create = &create };
	for (unsigned g = 0; g < N_GUESTS; g++)
		for (unsigned d = 0; d < 2; d++)
			bounds[i][g][d].at_least = atomic_load(&guests[g].ended[d]);
	cr_assert_eq(bpull_disk_snapshot(both, 2, &error), 0, "%s", error.message);
	for (unsigned g = 0; g < N_GUESTS; g++)
		for (unsigned d = 0; d < 2; d++)
			bounds[i][g][d].at_most = atomic_load(&guests[g].begun[d]);
}

static void read_all(const char *name, uint32_t *out)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_READ_ONLY };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_pread(disk, out, N_SLOTS * N_GUESTS * SLOT_LEN, 0), 0);
	bpull_disk_close(disk);
}

/* How many writes of the guest left just this; it has one answer. */
static unsigned count_writes(const uint32_t *all, unsigned g, const char *name)
{
	unsigned most = 0;

	for (unsigned s = 0; s < N_SLOTS; s++) {
		uint32_t n = all[slot_off(g, s) / 4];

		if (n != 0x5a5a5a5a && n > most)
			most = n;
	}
	for (unsigned s = 0; s < N_SLOTS; s++) {
		const uint32_t *slot = all + slot_off(g, s) / 4;
		uint32_t want = last_of(s, most);

		for (unsigned i = 0; i < SLOT_LEN / 4; i++)
			cr_assert_eq(slot[i], want ? want : 0x5a5a5a5a,
				     "%s: guest %u, slot %u, word %u after %u writes: %u", name, g,
				     s, i, most, slot[i]);
	}
	return most;
}

static void judge_snapshot(unsigned i)
{
	static uint32_t all[2][N_SLOTS * N_GUESTS * SLOT_LEN / 4];

	for (unsigned d = 0; d < 2; d++)
		read_all(head_name(d, i), all[d]);
	for (unsigned g = 0; g < N_GUESTS; g++) {
		unsigned n[2];

		for (unsigned d = 0; d < 2; d++) {
			n[d] = count_writes(all[d], g, head_name(d, i));
			cr_expect(n[d] >= bounds[i][g][d].at_least &&
					  n[d] <= bounds[i][g][d].at_most,
				  "%s: guest %u has %u writes, not %u to %u", head_name(d, i), g,
				  n[d], bounds[i][g][d].at_least, bounds[i][g][d].at_most);
		}
		cr_expect(n[0] == n[1] || n[0] == n[1] + 1,
			  "snapshot %u, guest %u: %u writes to one disk, %u to the other", i, g,
			  n[0], n[1]);
	}
}

Test(snapshot_guests, each_snapshot_is_one_moment_of_all_disks)
{
	unsigned first;

	make_overlay("other", BPULL_FORMAT_QCOW2, "base");
	disks[0] = snap_open("top", 0);
	disks[1] = snap_open("other", 0);
	for (unsigned g = 0; g < N_GUESTS; g++) {
		guests[g].number = g;
		cr_assert_eq(pthread_create(&guests[g].thread, NULL, run_guest, &guests[g]), 0);
	}
	for (unsigned i = 0; i < N_SNAPSHOTS; i++) {
		first = atomic_load(&guests[0].ended[1]);
		take_both(i);
		while (atomic_load(&guests[0].ended[1]) < first + 20)
			sched_yield();
	}
	atomic_store(&is_over, true);
	for (unsigned g = 0; g < N_GUESTS; g++)
		pthread_join(guests[g].thread, NULL);
	cr_assert_eq(bpull_disk_depth(disks[0]), 2 + N_SNAPSHOTS);
	for (unsigned d = 0; d < 2; d++)
		bpull_disk_close(disks[d]);
	for (unsigned i = 0; i < N_SNAPSHOTS; i++)
		judge_snapshot(i);
	for (unsigned d = 0; d < 2; d++)
		cr_expect_eq(scratch_run("qemu-img", "check", "-q",
					 scratch(head_name(d, N_SNAPSHOTS)), NULL),
			     0);
}
