/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The region of what is in flight lies with the frontend, which may give back anything: what
 * becomes of a region without sense. Regions that make sense are p09's, in test_vhost_pitfalls.c.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/support/inflight_region.h"
#include "tests/unit/tools/vhost_rig.h"
#include "tests/unit/tools/vhost_start.h"
#include "tools/vhost/guard.h"

#define VERSION    1u
#define PART_LEN   192u /* of a queue of eight: 16 bytes and eight times 16, by 64 */
#define REGION_LEN (sizeof(struct inflight_region) + RIG_SIZE * 16)

static struct inflight_region *map_region(const struct rig *rig)
{
	struct inflight_region *r = mmap(NULL, REGION_LEN, PROT_READ | PROT_WRITE, MAP_SHARED,
					 rig->inflight_fd, (off_t)rig->inflight.mmap_off);

	cr_assert_neq(r, MAP_FAILED);
	return r;
}

/* A server was killed when the guest had made heads 4, 2 and 6 available, and none had ended. */
static struct inflight_region *open_killed(struct rig *rig)
{
	static const uint16_t heads[] = { 4, 2, 6 };

	rig_open(rig);
	vhost_start_inflight(rig);
	for (unsigned i = 0; i < 3; i++) {
		rig_offer(rig, heads[i]);
		cr_assert_eq(rig_take(rig), heads[i]);
	}
	rig_die(rig);
	return map_region(rig);
}

/* What a new server makes of the region: these heads are done again, in this order. */
static void expect_again(struct rig *rig, unsigned n, const uint16_t *heads)
{
	vhost_start_inflight(rig);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(rig_take_again(rig), heads[i], "head %u", i);
	cr_assert_eq(rig_take_again(rig), -1);
}

/* Nothing is done again, and the region has begun anew; the ring begins at 0, as was said. */
static void expect_anew(struct rig *rig, const struct inflight_region *r)
{
	expect_again(rig, 0, NULL);
	cr_assert_eq(r->version, VERSION);
	cr_assert_eq(r->desc_num, RIG_SIZE);
	cr_assert_eq(r->used_idx, rig->used->idx);
	for (unsigned i = 0; i < RIG_SIZE; i++)
		cr_assert_eq(r->desc[i].inflight, 0);
	cr_assert_eq(rig_take(rig), 4);
	cr_assert_eq(r->desc[4].inflight, 1);
}

static void close_killed(struct rig *rig, struct inflight_region *r)
{
	munmap(r, REGION_LEN);
	rig_close(rig);
}

Test(vhost_inflight, its_layout_is_the_protocols)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	cr_assert_eq(r->version, VERSION);
	cr_assert_eq(r->desc_num, RIG_SIZE);
	cr_assert_eq(r->desc[4].inflight + r->desc[2].inflight + r->desc[6].inflight, 3);
	cr_assert(r->desc[4].counter < r->desc[2].counter &&
		  r->desc[2].counter < r->desc[6].counter);
	cr_assert_geq(rig.inflight.mmap_len, PART_LEN);
	expect_again(&rig, 3, (const uint16_t[]){ 4, 2, 6 });
	close_killed(&rig, r);
}

Test(vhost_inflight, one_of_another_version_or_size_begins_anew)
{
	for (unsigned i = 0; i < 4; i++) {
		struct rig rig;
		struct inflight_region *r = open_killed(&rig);

		if (i < 2)
			r->version = i ? 2 : 0;
		else
			r->desc_num = i == 2 ? RIG_SIZE / 2 : UINT16_MAX;
		expect_anew(&rig, r);
		close_killed(&rig, r);
	}
}

Test(vhost_inflight, one_of_nothing_but_ones_begins_anew)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	memset(r, 0xff, REGION_LEN);
	expect_anew(&rig, r);
	close_killed(&rig, r);
}

Test(vhost_inflight, an_index_that_the_ring_can_not_have_come_from_begins_anew)
{
	static const uint16_t indexes[] = { 1, 3, 0x8000, UINT16_MAX - RIG_SIZE };

	for (unsigned i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++) {
		struct rig rig;
		struct inflight_region *r = open_killed(&rig);

		r->used_idx = indexes[i]; /* the ring's is 0 */
		expect_anew(&rig, r);
		close_killed(&rig, r);
	}
}

Test(vhost_inflight, a_list_that_leads_out_of_the_ring_begins_anew)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig rig;
		struct inflight_region *r = open_killed(&rig);

		rig.used->idx = 2; /* two have ended, says the ring */
		rig.avail->idx += 2;
		r->last_batch_head = i ? 2 : RIG_SIZE;
		r->desc[2].next = i ? UINT16_MAX : 0;
		expect_again(&rig, 0, NULL);
		cr_assert_eq(r->used_idx, 2);
		cr_assert_eq(r->desc[4].inflight + r->desc[6].inflight, 0);
		close_killed(&rig, r);
	}
}

Test(vhost_inflight, a_list_that_goes_in_circles_ends_what_is_in_it)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	rig.used->idx = 3;
	r->last_batch_head = 4;
	r->desc[4].next = 2;
	r->desc[2].next = 4; /* a third one was to come */
	expect_again(&rig, 1, (const uint16_t[]){ 6 });
	cr_assert_eq(rig_queue(&rig)->ring.last_avail, 4);
	close_killed(&rig, r);
}

Test(vhost_inflight, a_mark_is_one_and_nothing_else)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	r->desc[2].inflight = 2;
	r->desc[6].inflight = 0xff;
	expect_again(&rig, 1, (const uint16_t[]){ 4 });
	close_killed(&rig, r);
}

Test(vhost_inflight, requests_of_one_age_are_done_by_head_and_the_oldest_first)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	r->desc[6].counter = r->desc[2].counter = 7;
	r->desc[4].counter = UINT64_MAX;
	expect_again(&rig, 3, (const uint16_t[]){ 2, 6, 4 });
	close_killed(&rig, r);
}

/* All that the region names are done once; then the ring, which never had so many, is broken. */
Test(vhost_inflight, requests_that_the_ring_never_had_are_done_and_break_it)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	for (unsigned i = 0; i < RIG_SIZE; i++) {
		r->desc[i].inflight = 1;
		r->desc[i].counter = i;
	}
	expect_again(&rig, RIG_SIZE, (const uint16_t[]){ 0, 1, 2, 3, 4, 5, 6, 7 });
	cr_assert_eq(rig_take(&rig), -1);
	cr_assert(rig_queue(&rig)->is_broken);
	close_killed(&rig, r);
}

/* A new server is told of a region for rings of one size, and of a ring of another. */
static void resize_ring(struct rig *rig, uint16_t region_size, unsigned ring_size)
{
	rig->inflight.queue_size = region_size;
	cr_assert(rig_protocol(rig, VHOST_PROTOCOL_OFFERED) && rig_features(rig, BASIC));
	cr_assert(rig_table(rig) && rig_ring(rig));
	cr_assert(rig_say_state(rig, VHOST_SET_VRING_NUM, 0, ring_size));
	cr_assert(rig_inflight(rig));
	cr_assert(rig_kick(rig));
}

Test(vhost_inflight, a_ring_that_is_larger_than_the_regions_is_broken)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	resize_ring(&rig, RIG_SIZE / 2, RIG_SIZE);
	cr_assert_eq(rig_take_again(&rig), -1);
	cr_assert(rig_queue(&rig)->is_broken);
	cr_assert_eq(rig_take(&rig), -1);
	close_killed(&rig, r);
}

Test(vhost_inflight, a_mark_that_is_no_head_of_the_ring_breaks_it)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	r->desc_num = RIG_SIZE;
	resize_ring(&rig, RIG_SIZE, RIG_SIZE / 2); /* 4 and 6 were in flight */
	cr_assert_eq(rig_take_again(&rig), -1);
	cr_assert(rig_queue(&rig)->is_broken);
	close_killed(&rig, r);
}

/* ---- the message ---- */

static bool set_region(struct rig *rig, const struct vhost_inflight_message *m, int fd)
{
	return rig_say(rig, VHOST_SET_INFLIGHT_FD, 0, m, VHOST_INFLIGHT_LEN, &fd, 1);
}

Test(vhost_inflight, a_region_that_can_not_be_is_refused_and_the_old_one_stays)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);
	const struct vhost_inflight_message good = rig.inflight, wrong[] = {
		{ good.mmap_len, 0, 0, RIG_SIZE, { 0 } },
		{ good.mmap_len, 0, 3, RIG_SIZE, { 0 } },
		{ good.mmap_len, 0, 1, 0, { 0 } },
		{ UINT64_MAX, 0, 1, UINT16_MAX, { 0 } },
		{ PART_LEN - 1, 0, 1, RIG_SIZE, { 0 } },
		{ good.mmap_len, 0, 2, RIG_SIZE, { 0 } },
		{ good.mmap_len + 1, 0, 1, RIG_SIZE, { 0 } },
		{ good.mmap_len, 8, 1, RIG_SIZE, { 0 } },
		{ PART_LEN, 4, 1, RIG_SIZE, { 0 } },
		{ UINT64_MAX, 0, 1, RIG_SIZE, { 0 } },
		{ UINT64_MAX - 4095, 4096, 1, RIG_SIZE, { 0 } },
		{ PART_LEN, UINT64_MAX - 7, 1, RIG_SIZE, { 0 } },
	};
	int event = eventfd(0, 0);

	vhost_start_inflight(&rig);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_assert(!set_region(&rig, &wrong[i], rig.inflight_fd), "region %u is taken", i);
	cr_assert(!set_region(&rig, &good, event), "of no file");
	cr_assert_eq(rig_take_again(&rig), 4);
	cr_assert_eq(rig_take_again(&rig), 2);
	rig_offer(&rig, 0);
	cr_assert_eq(rig_take(&rig), 0);
	cr_assert_eq(r->desc[0].inflight, 1, "it is noted in the old one");
	close(event);
	close_killed(&rig, r);
}

Test(vhost_inflight, a_region_as_short_as_the_protocol_has_it_is_taken)
{
	uint8_t behind[16], same[16];
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	rig.inflight.mmap_len = PART_LEN;
	memset(behind, 0x5a, sizeof(behind));
	cr_assert_eq(pwrite(rig.inflight_fd, behind, sizeof(behind), PART_LEN), sizeof(behind));
	expect_again(&rig, 3, (const uint16_t[]){ 4, 2, 6 });
	cr_assert(vhost_set_config(&rig, 32, 1, 0), "it has no place for the cache");
	cr_assert(!rig.session.write_back);
	cr_assert_eq(pread(rig.inflight_fd, same, sizeof(same), PART_LEN), sizeof(same));
	cr_assert_arr_eq(same, behind, sizeof(same), "what lies behind it is not ours");
	close_killed(&rig, r);
}

/* What was in flight is lost with it: the ring is what its frontend says. */
Test(vhost_inflight, a_region_whose_file_became_empty_does_not_kill_us)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	cr_assert_eq(guard_install(), 0);
	cr_assert(rig_protocol(&rig, VHOST_PROTOCOL_OFFERED) && rig_features(&rig, BASIC));
	cr_assert(rig_table(&rig) && rig_inflight(&rig) && rig_ring(&rig));
	cr_assert(!guard_take_hit());
	cr_assert_eq(ftruncate(rig.inflight_fd, 0), 0);
	cr_assert(rig_kick(&rig));
	cr_assert_eq(rig_take_again(&rig), -1);
	cr_assert(guard_take_hit(), "and it is noticed");
	cr_assert_eq(rig_take(&rig), 4);
	vhost_queue_end(rig_queue(&rig), 4, 1);
	vhost_queue_publish(&rig.session, rig_queue(&rig), 0);
	cr_assert_eq(rig.used->idx, 1);
	close_killed(&rig, r);
}

/* ---- what lies behind the queues' parts ---- */

/* As version 1 has it. */
struct tail {
	uint32_t magic, version;
	uint8_t write_back, zero[7];
};
#define TAIL_MAGIC 0x6c6c7062u

/* Whether the next server takes the guest for one with a cache. */
static bool next_has_cache(struct rig *rig, const struct tail *tail)
{
	off_t at = rig->inflight.mmap_off + rig->inflight.mmap_len - sizeof(*tail);

	cr_assert_eq(pwrite(rig->inflight_fd, tail, sizeof(*tail), at), (ssize_t)sizeof(*tail));
	rig_die(rig);
	vhost_start_inflight(rig);
	return rig->session.write_back;
}

Test(vhost_inflight, the_cache_is_known_from_version_1_for_ever)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(next_has_cache(&rig, &(struct tail){ TAIL_MAGIC, 1, i, { 0 } }), i);
	cr_assert(next_has_cache(&rig, &(struct tail){ 0 }), "a fresh one");
	close_killed(&rig, r);
}

/* It may say in its own way that the guest has no cache, and then each write must be durable. */
Test(vhost_inflight, after_a_newer_server_there_is_no_cache)
{
	struct rig rig;
	struct inflight_region *r = open_killed(&rig);

	for (unsigned i = 0; i < 2; i++)
		cr_assert(!next_has_cache(&rig, &(struct tail){ TAIL_MAGIC, 2, i, { 0 } }));
	cr_assert_eq(rig_take_again(&rig), 4, "what was in flight is the protocol's");
	close_killed(&rig, r);
}
