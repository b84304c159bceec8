/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Messages that VMMs send seldom or not at all: RESET_OWNER, SET_VRING_ERR, SET_LOG_FD, and rings
 * that are polled because their kicks or calls have no descriptor.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/unit/tools/vhost_rig.h"
#include "tests/unit/tools/vhost_start.h"

/* How often an eventfd was written to since the last look. */
static uint64_t n_written(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) < 0 ? 0 : count;
}

static int open_event(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

/* The lowest number that no descriptor has. */
static int free_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static bool say_no_fd(struct rig *rig, uint32_t number, uint32_t index)
{
	return rig_say_u64(rig, number, index | VHOST_FD_NONE);
}

/* A head that no ring has. */
static void break_ring(struct rig *rig)
{
	rig_offer(rig, RIG_SIZE);
	cr_assert_eq(rig_take(rig), -1);
	cr_assert(rig_queue(rig)->is_broken);
}

static void end(struct rig *rig, int head)
{
	cr_assert_eq(rig_take(rig), head);
	vhost_queue_end(rig_queue(rig), head, 1);
	vhost_queue_publish(&rig->session, rig_queue(rig), 0);
}

/* ---- RESET_OWNER ---- */

Test(vhost_reset_owner, it_disables_the_rings_and_forgets_nothing)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(rig_kick(&rig) && rig_enable(&rig, true));
	rig_offer(&rig, 5);
	rig_offer(&rig, 6);
	cr_assert_eq(rig_take(&rig), 5);
	cr_assert(rig_say(&rig, VHOST_RESET_OWNER, 0, NULL, 0, NULL, 0));
	cr_assert_eq(rig_take(&rig), -1);
	cr_assert_eq(rig.n_stops, 0, "the image stays: a ring that is disabled may be enabled");
	cr_assert_eq(rig.session.features, NEW);
	cr_assert_eq(rig.session.protocol_features, VHOST_PROTOCOL_OFFERED);
	vhost_queue_end(rig_queue(&rig), 5, 1);
	vhost_queue_publish(&rig.session, rig_queue(&rig), 0);
	cr_assert_eq(rig.used->idx, 1, "what is in flight ends as it would");
	cr_assert(rig_enable(&rig, true));
	cr_assert_eq(rig_take(&rig), 6, "in the same memory, behind the last");
	rig_close(&rig);
}

/* Such a frontend has no message to enable them again. */
Test(vhost_reset_owner, without_protocol_features_it_does_nothing)
{
	struct rig rig;

	vhost_start(&rig, BASIC);
	cr_assert(rig_kick(&rig));
	cr_assert(rig_say(&rig, VHOST_RESET_OWNER, 0, NULL, 0, NULL, 0));
	rig_offer(&rig, 5);
	cr_assert_eq(rig_take(&rig), 5);
	rig_close(&rig);
}

/* ---- SET_VRING_ERR ---- */

Test(vhost_err, it_tells_once_that_a_ring_makes_no_sense)
{
	int err = open_event();
	struct rig rig;

	vhost_start(&rig, BASIC);
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_ERR, 0, err));
	cr_assert(rig_kick(&rig));
	rig_offer(&rig, 1);
	end(&rig, 1);
	cr_assert_eq(n_written(err), 0, "all is well");
	break_ring(&rig);
	cr_assert_eq(n_written(err), 1);
	cr_assert_eq(rig_take(&rig), -1);
	cr_assert_eq(n_written(err), 0);
	rig_close(&rig);
	close(err);
}

Test(vhost_err, the_last_descriptor_counts_until_the_ring_is_stopped)
{
	int first = open_event(), second = open_event(), fd;
	struct rig rig;

	vhost_start(&rig, BASIC);
	cr_assert(rig_kick(&rig));
	fd = free_fd();
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_ERR, 0, first));
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_ERR, 0, second));
	break_ring(&rig);
	cr_assert_eq(n_written(first), 0);
	cr_assert_eq(n_written(second), 1);
	cr_assert(rig_say_state(&rig, VHOST_GET_VRING_BASE, 0, 0));
	cr_assert_eq(rig_queue(&rig)->err_fd, -1);
	cr_assert_leq(free_fd(), fd, "both are closed");
	rig_close(&rig);
	close(first);
	close(second);
}

Test(vhost_err, a_frontend_may_have_none)
{
	int err = open_event();
	struct rig rig;

	vhost_start(&rig, BASIC);
	cr_assert(rig_kick(&rig));
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_ERR, 0, err));
	cr_assert(say_no_fd(&rig, VHOST_SET_VRING_ERR, 0));
	break_ring(&rig);
	cr_assert_eq(n_written(err), 0, "it was taken back");
	rig_close(&rig);
	close(err);
}

Test(vhost_err, a_region_of_what_is_in_flight_that_is_too_small_is_told_there)
{
	int err = open_event();
	struct rig rig;

	rig_open(&rig);
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_ERR, 0, err));
	vhost_start_inflight(&rig);
	cr_assert(rig_say_state(&rig, VHOST_GET_VRING_BASE, 0, 0));
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_ERR, 0, err));
	cr_assert(rig_say_state(&rig, VHOST_SET_VRING_NUM, 0, 2 * RIG_SIZE));
	cr_assert(rig_kick(&rig));
	rig_offer(&rig, 1);
	cr_assert_eq(rig_take(&rig), -1);
	cr_assert_eq(n_written(err), 1);
	rig_close(&rig);
	close(err);
}

/* ---- rings without a descriptor ---- */

Test(vhost_polled, a_ring_without_kicks_is_started_and_looked_at)
{
	struct rig rig;

	vhost_start(&rig, NEW);
	cr_assert(say_no_fd(&rig, VHOST_SET_VRING_KICK, 0) && rig_enable(&rig, true));
	cr_assert(rig_queue(&rig)->is_polled, "its owner is to look by itself");
	cr_assert_eq(rig.n_watched, 0, "there is nothing to be watched");
	rig_offer(&rig, 4);
	cr_assert_eq(rig_take(&rig), 4);
	cr_assert(rig_say_state(&rig, VHOST_GET_VRING_BASE, 0, 0));
	cr_assert_eq(rig.answer.payload.state.num, 1);
	cr_assert(!rig_queue(&rig)->is_polled && !rig_queue(&rig)->is_started);
	cr_assert_eq(rig.n_stops, 1, "it was one like the others");
	rig_close(&rig);
}

Test(vhost_polled, a_ring_may_have_kicks_later_and_lose_them_again)
{
	struct rig rig;

	vhost_start(&rig, BASIC);
	cr_assert(say_no_fd(&rig, VHOST_SET_VRING_KICK, 0));
	cr_assert(rig_kick(&rig));
	cr_assert(!rig_queue(&rig)->is_polled);
	cr_assert_eq(rig.n_watched, 1);
	cr_assert(say_no_fd(&rig, VHOST_SET_VRING_KICK, 0));
	cr_assert(rig_queue(&rig)->is_polled);
	cr_assert_eq(rig.n_watched, 0);
	rig_offer(&rig, 3);
	cr_assert_eq(rig_take(&rig), 3);
	rig_close(&rig);
}

Test(vhost_polled, a_guest_without_calls_sees_the_ends_and_is_told_nothing)
{
	struct rig rig;

	vhost_start(&rig, BASIC);
	cr_assert(say_no_fd(&rig, VHOST_SET_VRING_CALL, 0));
	cr_assert(rig_kick(&rig));
	rig_offer(&rig, 1);
	end(&rig, 1);
	cr_assert_eq(rig.used->idx, 1);
	cr_assert_eq(rig.used->elems[0].head, 1);
	cr_assert_eq(n_written(rig.call_fd), 0, "it was taken back");
	cr_assert(rig_say_fd(&rig, VHOST_SET_VRING_CALL, 0, rig.call_fd));
	vhost_queue_tell(rig_queue(&rig));
	cr_assert_eq(n_written(rig.call_fd), 1, "one too many is better than one too few");
	rig_close(&rig);
}

Test(vhost_polled, the_flag_and_the_descriptor_exclude_each_other)
{
	static const uint32_t numbers[] = { VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL,
					    VHOST_SET_VRING_ERR };

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct rig rig;
		int fd;

		vhost_start(&rig, BASIC);
		fd = free_fd();
		cr_assert(!rig_say_u64(&rig, numbers[i], 0), "neither");
		cr_assert(!rig_say_fd(&rig, numbers[i], VHOST_FD_NONE, rig.memory_fd), "both");
		cr_assert(!rig_say_fd(&rig, numbers[i], 2, rig.memory_fd), "no such queue");
		cr_assert_eq(free_fd(), fd, "a refused descriptor is closed");
		cr_assert(!rig_queue(&rig)->is_started);
		rig_close(&rig);
	}
}

/* ---- SET_LOG_FD ---- */

Test(vhost_log_fd, it_is_taken_and_closed_and_the_log_goes_on)
{
	const struct vhost_log_message m = { .len = 64 };
	int log = memfd_create("log", MFD_CLOEXEC), event = open_event(), fd;
	struct rig rig;
	uint8_t byte;

	cr_assert_eq(ftruncate(log, 64), 0);
	vhost_start(&rig, NEW);
	cr_assert(rig_say(&rig, VHOST_SET_LOG_BASE, 0, &m, sizeof(m), &log, 1));
	fd = free_fd();
	cr_assert(rig_say_fd(&rig, VHOST_SET_LOG_FD, 0, event));
	cr_assert(rig_say(&rig, VHOST_SET_LOG_FD, 0, NULL, 0, &event, 1), "without a payload, too");
	cr_assert(rig_say(&rig, VHOST_SET_LOG_FD, 0, NULL, 0, NULL, 0), "or without any");
	cr_assert_eq(free_fd(), fd);
	cr_assert(rig_features(&rig, NEW | VHOST_BIT(VHOST_LOG_ALL)));
	vhost_log_write(&rig.session, 4096 * 3, 1);
	cr_assert_eq(pread(log, &byte, 1, 0), 1);
	cr_assert_eq(byte, 8, "frontends look at the log itself");
	cr_assert_eq(n_written(event), 0);
	rig_close(&rig);
	close(log);
	close(event);
}
