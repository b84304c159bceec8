/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A vhost-user session where no report tells what may go wrong: refusals, messages without sense,
 * resets, logged pages; and when an image may go to another server.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/tools/vhost_rig.h"
#include "tests/unit/tools/vhost_start.h"

/* ---- what is no report's, but might have been ---- */

Test(vhost_session, a_refusal_is_told_where_the_frontend_waits)
{
	const struct vhost_ring_state state = { 0, 3 };
	struct rig rig;

	rig_open(&rig);
	cr_assert(rig_protocol(&rig, VHOST_BIT(VHOST_PROTOCOL_REPLY_ACK)));
	cr_assert(rig_say(&rig, VHOST_SET_VRING_NUM, VHOST_NEED_REPLY, &state, sizeof(state), NULL,
			  0));
	cr_assert_eq(rig.answer.header.len, 8);
	cr_assert_neq(rig.answer.payload.u64, 0, "three is no power of two");
	cr_assert(!rig_say(&rig, VHOST_SET_VRING_NUM, 0, &state, sizeof(state), NULL, 0));
	rig_close(&rig);
}

Test(vhost_session, messages_that_make_no_sense_end_the_connection)
{
	struct rig rig;
	uint64_t word = 0;

	rig_open(&rig);
	cr_assert(!rig_say(&rig, VHOST_SET_FEATURES, 0, &word, 4, NULL, 0), "too short");
	cr_assert(!rig_say(&rig, VHOST_SET_FEATURES, 2, &word, 8, NULL, 0), "version 3");
	cr_assert(!rig_say(&rig, VHOST_SET_FEATURES, VHOST_REPLY, &word, 8, NULL, 0));
	cr_assert(!rig_say(&rig, 0, 0, NULL, 0, NULL, 0));
	cr_assert(!rig_say(&rig, 22, 0, &word, 8, NULL, 0));
	cr_assert(!rig_say(&rig, UINT32_MAX, 0, NULL, 0, NULL, 0));
	cr_assert(!vhost_get_config(&rig, 0, 60), "its feature was not acknowledged");
	cr_assert(!rig_say_state(&rig, VHOST_SET_VRING_NUM, 2, 8), "there are two queues");
	cr_assert(!rig_say_u64(&rig, VHOST_SET_VRING_KICK, 0), "without a descriptor");
	cr_assert(!rig_say(&rig, VHOST_GET_FEATURES, 0, NULL, 0, &rig.memory_fd, 1));
	rig_close(&rig);
}

/* The lowest number that no descriptor has. */
static int free_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

Test(vhost_session, a_region_that_can_not_be_made_leaves_no_descriptor)
{
	const struct vhost_inflight_message m = { .n_queues = 1, .queue_size = 8 };
	struct rlimit before;
	struct rig rig;
	int fd;

	rig_open(&rig);
	cr_assert(rig_protocol(&rig, VHOST_PROTOCOL_OFFERED));
	fd = free_fd();
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 0, before.rlim_max }), 0);
	cr_expect(!rig_say(&rig, VHOST_GET_INFLIGHT_FD, 0, &m, VHOST_INFLIGHT_LEN, NULL, 0));
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	cr_expect_eq(free_fd(), fd);
	rig_close(&rig);
}

Test(vhost_session, slots_and_the_table_are_the_same_memory)
{
	const struct vhost_single_region m = { 0, { RIG_GUEST, RIG_MEMORY, RIG_USER, 0 } };
	struct rig rig;

	rig_open(&rig);
	cr_assert(rig_protocol(&rig, VHOST_PROTOCOL_OFFERED));
	cr_assert(rig_features(&rig, BASIC));
	cr_assert(rig_say(&rig, VHOST_GET_MAX_MEM_SLOTS, 0, NULL, 0, NULL, 0));
	cr_assert_eq(rig.answer.payload.u64, 32);
	cr_assert(rig_ring(&rig) && rig_kick(&rig));
	cr_assert(rig_say(&rig, VHOST_ADD_MEM_REG, 0, &m, sizeof(m), &rig.memory_fd, 1));
	rig_offer(&rig, 2);
	cr_assert_eq(rig_take(&rig), 2);
	cr_assert(rig_say(&rig, VHOST_REM_MEM_REG, 0, &m, sizeof(m), &rig.memory_fd, 1));
	rig_offer(&rig, 3);
	cr_assert_eq(rig_take(&rig), -1, "its ring has gone");
	cr_assert(!rig_say(&rig, VHOST_REM_MEM_REG, 0, &m, sizeof(m), NULL, 0));
	rig_close(&rig);
}

Test(vhost_session, a_reset_device_begins_anew)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(rig_kick(&rig) && rig_enable(&rig, true));
	rig_offer(&rig, 1);
	cr_assert_eq(rig_take(&rig), 1);
	cr_assert(rig_say(&rig, VHOST_RESET_DEVICE, 0, NULL, 0, NULL, 0));
	cr_assert_eq(rig.session.features, 0);
	rig_offer(&rig, 2);
	cr_assert_eq(rig_take(&rig), -1);
	cr_assert(rig_features(&rig, NEW) && rig_ring(&rig) && rig_kick(&rig) &&
		  rig_enable(&rig, true));
	cr_assert_eq(rig_take(&rig), 1, "from the base that was set");
	rig_close(&rig);
}

Test(vhost_session, changed_pages_are_logged)
{
	const struct vhost_log_message m = { .len = 64 };
	struct rig rig;
	uint8_t log[64];
	int fd = memfd_create("log", MFD_CLOEXEC);

	rig_open(&rig);
	cr_assert_eq(ftruncate(fd, 64), 0);
	cr_assert(rig_protocol(&rig, VHOST_PROTOCOL_OFFERED));
	cr_assert(rig_features(&rig, NEW));
	cr_assert(rig_say(&rig, VHOST_SET_LOG_BASE, 0, &m, sizeof(m), &fd, 1));
	vhost_log_write(&rig.session, 4096 * 9, 1);
	cr_assert_eq(pread(fd, log, 64, 0), 64);
	cr_assert_eq(log[1], 0, "LOG_ALL was not acknowledged");
	cr_assert(rig_features(&rig, NEW | VHOST_BIT(VHOST_LOG_ALL)));
	vhost_log_write(&rig.session, 4096 * 9 + 4095, 2);
	vhost_log_write(&rig.session, 4096 * 511, UINT64_C(1) << 40);
	vhost_log_write(&rig.session, UINT64_MAX, 4);
	cr_assert_eq(pread(fd, log, 64, 0), 64);
	cr_assert_eq(log[1], 6, "two pages");
	cr_assert_eq(log[63], 0x80, "up to its end, and no further");
	close(fd);
	rig_close(&rig);
}

/* ---- when an image may go to another process ---- */

static bool get_base(struct rig *rig, uint32_t index)
{
	return rig_say_state(rig, VHOST_GET_VRING_BASE, index, 0);
}

Test(vhost_stop, the_last_ring_that_is_stopped_says_so)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(get_base(&rig, 0));
	cr_assert_eq(rig.n_stops, 0, "it was never started");
	cr_assert(rig_kick(&rig));
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_KICK, 1, rig.call_fd));
	cr_assert(rig_enable(&rig, true));
	cr_assert(rig_enable(&rig, false));
	cr_assert_eq(rig.n_stops, 0, "a ring that is disabled may be enabled again");
	cr_assert(get_base(&rig, 0));
	cr_assert_eq(rig.n_stops, 0, "another runs");
	cr_assert(get_base(&rig, 0));
	cr_assert_eq(rig.n_stops, 0);
	cr_assert(get_base(&rig, 1));
	cr_assert_eq(rig.n_stops, 1);
	cr_assert(get_base(&rig, 1));
	cr_assert_eq(rig.n_stops, 1, "it is stopped already");
	cr_assert(rig_kick(&rig));
	cr_assert(get_base(&rig, 0));
	cr_assert_eq(rig.n_stops, 2);
	rig_close(&rig);
	cr_assert_eq(rig.n_stops, 2);
}

Test(vhost_stop, a_reset_stops_all_and_an_end_does_not)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(rig_say(&rig, VHOST_RESET_DEVICE, 0, NULL, 0, NULL, 0));
	cr_assert_eq(rig.n_stops, 0, "no ring was started");
	cr_assert(rig_kick(&rig));
	cr_assert(rig_say(&rig, VHOST_RESET_DEVICE, 0, NULL, 0, NULL, 0));
	cr_assert_eq(rig.n_stops, 1);
	cr_assert(rig_kick(&rig));
	rig_close(&rig); /* as where a frontend was killed */
	cr_assert_eq(rig.n_stops, 1, "its requests will be done again");
}
