/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What went wrong in other backends, by public reports; each test has the number
 * that its fault has in them. What needs a process is in tests/bb/live/test_serve.py.
 */
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/unit/tools/vhost_rig.h"
#include "tests/unit/tools/vhost_start.h"
#include "tools/vhost/guard.h"

Test(vhost_pitfalls, p01_a_kick_before_enable_is_not_lost)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	rig_offer(&rig, 3);
	cr_assert(rig_kick(&rig));
	cr_assert_eq(rig_take(&rig), -1, "a ring that is not enabled gives nothing");
	cr_assert(rig_enable(&rig, true));
	cr_assert_eq(rig_take(&rig), 3, "no second kick is needed");
	rig_close(&rig);
}

Test(vhost_pitfalls, p02_features_neither_stop_nor_disable_rings)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(rig_kick(&rig) && rig_enable(&rig, true));
	rig_offer(&rig, 1);
	cr_assert_eq(rig_take(&rig), 1);
	cr_assert(rig_features(&rig, NEW | VHOST_BIT(VHOST_LOG_ALL)));
	rig_offer(&rig, 2);
	cr_assert_eq(rig_take(&rig), 2, "the log is switched while the guest runs");
	cr_assert(rig_features(&rig, NEW));
	rig_offer(&rig, 3);
	cr_assert_eq(rig_take(&rig), 3);
	rig_close(&rig);
}

Test(vhost_pitfalls, p03_without_protocol_features_rings_start_enabled)
{
	struct rig rig;

	vhost_start(&rig, BASIC);
	rig_offer(&rig, 5);
	cr_assert(rig_kick(&rig));
	cr_assert_eq(rig_take(&rig), 5);
	rig_close(&rig);
}

Test(vhost_pitfalls, p04_event_idx_comes_from_features_alone)
{
	struct rig rig;
	uint16_t *avail_event;

	vhost_start(&rig, NEW);
	avail_event = (uint16_t *)&rig.used->elems[RIG_SIZE];
	*avail_event = 0x5a5a;
	cr_assert(rig_kick(&rig) && rig_enable(&rig, true));
	rig_offer(&rig, 0);
	rig_take(&rig);
	vring_listen(&rig_queue(&rig)->ring);
	cr_assert_eq(*avail_event, 0x5a5a, "what is behind a ring without EVENT_IDX is not its");
	vhost_queue_stop(&rig.session, rig_queue(&rig));
	cr_assert(rig_say_state(&rig, VHOST_SET_VRING_BASE, 0, 1) && rig_kick(&rig));
	vring_listen(&rig_queue(&rig)->ring);
	cr_assert_eq(*avail_event, 0x5a5a, "nor with a SET_VRING_BASE behind its addresses");
	cr_assert(rig_features(&rig, NEW | VHOST_BIT(VIRTIO_EVENT_IDX)));
	vring_listen(&rig_queue(&rig)->ring);
	cr_assert_eq(*avail_event, 1, "without another SET_VRING_BASE");
	rig_close(&rig);
}

Test(vhost_pitfalls, p05_a_ring_is_disabled_before_its_base_is_asked_for)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(rig_kick(&rig) && rig_enable(&rig, true));
	rig_offer(&rig, 1);
	rig_offer(&rig, 2);
	cr_assert_eq(rig_take(&rig), 1);
	cr_assert(rig_enable(&rig, false));
	cr_assert(rig_say_state(&rig, VHOST_GET_VRING_BASE, 0, 0));
	cr_assert_eq(rig.answer.payload.state.num, 1, "of two, one was taken");
	rig_close(&rig);
}

Test(vhost_pitfalls, p06_a_memory_table_moves_rings_that_are_there)
{
	struct rig rig;

	rig_open(&rig);
	cr_assert(rig_features(&rig, BASIC));
	cr_assert(rig_ring(&rig) && rig_kick(&rig), "addresses may come before any memory");
	rig_offer(&rig, 4);
	cr_assert_eq(rig_take(&rig), -1);
	cr_assert(rig_table(&rig));
	cr_assert_eq(rig_take(&rig), 4);
	rig.n_drains = 0;
	cr_assert(rig_table(&rig));
	cr_assert_geq(rig.n_drains, 1, "what is in flight uses the old memory");
	rig_offer(&rig, 6);
	cr_assert_eq(rig_take(&rig), 6);
	rig_close(&rig);
}

Test(vhost_pitfalls, p07_any_part_of_the_configuration_may_be_asked_for)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	for (uint32_t len = 0; len <= VHOST_MAX_CONFIG; len++) {
		cr_assert(vhost_get_config(&rig, 0, len));
		cr_assert_eq(rig.answer.header.len, VHOST_CONFIG_HEAD + len);
		for (uint32_t i = 60; i < len; i++)
			cr_assert_eq(rig.answer.payload.config.bytes[i], 0);
	}
	cr_assert(vhost_get_config(&rig, 255, 1));
	cr_assert_eq(rig.answer.header.len, VHOST_CONFIG_HEAD + 1);
	cr_assert(vhost_get_config(&rig, 255, 2), "refused, and the connection goes on");
	cr_assert_eq(rig.answer.header.len, 0);
	rig_close(&rig);
}

Test(vhost_pitfalls, p07_a_part_of_the_configuration_may_be_set)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(rig.session.write_back);
	cr_assert(vhost_set_config(&rig, 32, 1, 0));
	cr_assert(!rig.session.write_back);
	cr_assert(vhost_set_config(&rig, 30, 8, 1));
	cr_assert(rig.session.write_back);
	cr_assert(vhost_set_config(&rig, 0, 32, 0), "what can't be written is left alone");
	cr_assert(vhost_set_config(&rig, 33, 27, 0));
	cr_assert(rig.session.write_back);
	cr_assert(vhost_set_config(&rig, 0, 60, 0));
	cr_assert(!rig.session.write_back);
	rig_close(&rig);
}

Test(vhost_pitfalls, p08_bits_that_were_not_offered_are_not_taken)
{
	struct rig rig;

	rig_open(&rig);
	cr_assert(rig_protocol(&rig, UINT64_MAX));
	cr_assert_eq(rig.session.protocol_features, VHOST_PROTOCOL_OFFERED);
	cr_assert_eq(rig.session.protocol_features & VHOST_BIT(20), 0);
	cr_assert(!rig_features(&rig, NEW | VHOST_BIT(34)), "PACKED was not offered");
	rig_close(&rig);
}

/* The ring was in use before the region was: its used->idx is not the region's. */
Test(vhost_pitfalls, p09_a_fresh_region_does_not_end_descriptor_0)
{
	struct rig rig;

	rig_open(&rig);
	rig.used->idx = rig.avail->idx = 100;
	vhost_start_inflight(&rig);
	rig_queue(&rig)->ring.last_avail = 100;
	rig_offer(&rig, 0);
	cr_assert_eq(rig_take(&rig), 0);
	rig_die(&rig);
	vhost_start_inflight(&rig);
	cr_assert_eq(rig_take_again(&rig), 0, "it was in flight, and is to be done");
	cr_assert_eq(rig_take_again(&rig), -1);
	cr_assert_eq(rig_queue(&rig)->ring.last_avail, 101);
	rig_close(&rig);
}

Test(vhost_pitfalls, p09_what_was_in_flight_is_done_again_by_age)
{
	static const uint16_t heads[] = { 6, 1, 4, 0 };
	struct rig rig;

	rig_open(&rig);
	vhost_start_inflight(&rig);
	for (unsigned i = 0; i < 4; i++) {
		rig_offer(&rig, heads[i]);
		cr_assert_eq(rig_take(&rig), heads[i]);
	}
	vhost_queue_end(rig_queue(&rig), 1, 1);
	vhost_queue_publish(&rig.session, rig_queue(&rig), 0);
	rig_die(&rig);
	vhost_start_inflight(&rig);
	cr_assert_eq(rig_take_again(&rig), 6);
	cr_assert_eq(rig_take_again(&rig), 4);
	cr_assert_eq(rig_take_again(&rig), 0);
	cr_assert_eq(rig_take_again(&rig), -1);
	rig_offer(&rig, 1);
	cr_assert_eq(rig_take(&rig), 1, "and the ring goes on behind them");
	rig_close(&rig);
}

/* What came behind the first death is younger than all that was left by it. */
Test(vhost_pitfalls, p09_age_goes_on_from_death_to_death)
{
	static const uint16_t heads[] = { 6, 1, 4 };
	struct rig rig;

	rig_open(&rig);
	vhost_start_inflight(&rig);
	for (unsigned n = 0; n <= 3; n++) {
		for (unsigned i = 0; i < n; i++)
			cr_assert_eq(rig_take_again(&rig), heads[i]);
		cr_assert_eq(rig_take_again(&rig), -1);
		if (n == 3)
			break;
		rig_offer(&rig, heads[n]);
		cr_assert_eq(rig_take(&rig), heads[n]);
		rig_die(&rig);
		vhost_start_inflight(&rig);
	}
	rig_close(&rig);
}

/* QEMU disables a ring before it stops it, also one that has not run since the last death. */
Test(vhost_pitfalls, p09_what_was_in_flight_is_known_at_the_stop_of_a_ring_that_did_not_run)
{
	const struct vhost_message stop = { .header = { VHOST_GET_VRING_BASE, VHOST_VERSION,
							sizeof(struct vhost_ring_state) } };
	struct rig rig;

	rig_open(&rig);
	vhost_start_inflight(&rig);
	rig_offer(&rig, 6);
	rig_offer(&rig, 1);
	cr_assert_eq(rig_take(&rig), 6);
	cr_assert_eq(rig_take(&rig), 1);
	vhost_queue_end(rig_queue(&rig), 1, 1);
	vhost_queue_publish(&rig.session, rig_queue(&rig), 0);
	rig_die(&rig);
	vhost_start_inflight(&rig);
	cr_assert(rig_enable(&rig, false));
	cr_assert_eq(vhost_session_stops(&rig.session, &stop), rig_queue(&rig));
	cr_assert(vhost_queue_find_owed(rig_queue(&rig)), "6 is owed");
	cr_assert_eq(rig_take_again(&rig), 6);
	cr_assert_not(vhost_queue_find_owed(rig_queue(&rig)));
	rig_die(&rig);
	vhost_start_inflight(&rig);
	cr_assert(rig_enable(&rig, false));
	cr_assert(rig_say_state(&rig, VHOST_GET_VRING_BASE, 0, 0));
	cr_assert_eq(rig.answer.payload.state.num, 2, "the ring goes on behind both");
	cr_assert_not(vhost_queue_find_owed(rig_queue(&rig)), "it is stopped");
	rig_close(&rig);
}

Test(vhost_pitfalls, p10_a_stopped_ring_is_left_alone)
{
	struct rig rig;
	uint64_t count;

	vhost_start(&rig, NEW);
	cr_assert(rig_kick(&rig) && rig_enable(&rig, true));
	rig_offer(&rig, 1);
	cr_assert_eq(rig_take(&rig), 1);
	vhost_queue_end(rig_queue(&rig), 1, 1);
	rig.n_drains = 0;
	cr_assert(rig_say_state(&rig, VHOST_GET_VRING_BASE, 0, 0));
	cr_assert_eq(rig.n_drains, 1, "what is in flight ends before the answer");
	while (read(rig.call_fd, &count, sizeof(count)) > 0)
		;
	rig_offer(&rig, 2);
	cr_assert_eq(rig_take(&rig), -1);
	cr_assert(rig_enable(&rig, true));
	cr_assert_eq(rig_take(&rig), -1, "it is started by a kick alone");
	cr_assert_lt(read(rig.call_fd, &count, sizeof(count)), 0, "the guest was called");
	cr_assert_eq(rig_queue(&rig)->call_fd, -1);
	rig_close(&rig);
}

Test(vhost_pitfalls, p11_a_file_that_is_too_short_is_refused)
{
	const struct vhost_table_message table = { 1,
						   0,
						   { { RIG_GUEST, RIG_MEMORY, RIG_USER, 1 } } };
	struct rig rig;

	rig_open(&rig);
	cr_assert(!rig_say(&rig, VHOST_SET_MEM_TABLE, 0, &table, 8 + sizeof(table.regions[0]),
			   &rig.memory_fd, 1));
	rig_close(&rig);
}

Test(vhost_pitfalls, p11_a_file_that_becomes_shorter_does_not_kill_us)
{
	struct rig rig;

	cr_assert_eq(guard_install(), 0);
	vhost_start(&rig, BASIC);
	cr_assert(rig_kick(&rig));
	rig_offer(&rig, 1);
	cr_assert_eq(rig_take(&rig), 1);
	cr_assert(!guard_take_hit());
	cr_assert_eq(ftruncate(rig.memory_fd, 0), 0);
	rig_take(&rig);
	vhost_queue_end(rig_queue(&rig), 1, 1);
	vhost_queue_publish(&rig.session, rig_queue(&rig), 0);
	cr_assert(guard_take_hit(), "and it is noticed");
	cr_assert(!guard_take_hit());
	rig_close(&rig);
}

Test(vhost_pitfalls, p14_without_a_cache_each_write_is_durable)
{
	cr_assert(!blk_writes_through(BASIC, true));
	cr_assert(!blk_writes_through(BASIC, false), "without CONFIG_WCE the byte says nothing");
	cr_assert(blk_writes_through(BASIC | VHOST_BIT(VIRTIO_BLK_CONFIG_WCE), false));
	cr_assert(!blk_writes_through(BASIC | VHOST_BIT(VIRTIO_BLK_CONFIG_WCE), true));
	cr_assert(blk_writes_through(0, true), "a guest that can't flush has no cache");
}

/* The byte is not told again by QEMU after a reconnection. */
Test(vhost_pitfalls, p14_the_cache_outlives_the_process)
{
	struct rig rig;

	rig_open(&rig);
	vhost_start_inflight(&rig);
	cr_assert(vhost_set_config(&rig, 32, 1, 0));
	rig_die(&rig);
	cr_assert(rig.session.write_back);
	vhost_start_inflight(&rig);
	cr_assert(!rig.session.write_back);
	rig_close(&rig);
}
