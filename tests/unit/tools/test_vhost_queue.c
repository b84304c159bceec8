/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* When a queue's ends are shown to the guest, and when it is told of them. */
#include <sys/eventfd.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/unit/tools/vhost_rig.h"
#include "tools/vhost/queue.h"

#define BASIC (VHOST_BIT(VIRTIO_VERSION_1) | VHOST_BIT(VIRTIO_BLK_FLUSH))

static void start(struct rig *rig)
{
	rig_open(rig);
	cr_assert(rig_features(rig, BASIC) && rig_table(rig) && rig_ring(rig) && rig_kick(rig));
}

/* How often it was told since the last look. */
static uint64_t n_told(struct rig *rig)
{
	uint64_t count = 0;

	return read(rig->call_fd, &count, sizeof(count)) < 0 ? 0 : count;
}

static void end(struct rig *rig, int head)
{
	cr_assert_eq(rig_take(rig), head);
	vhost_queue_end(rig_queue(rig), head, 1);
	vhost_queue_publish(&rig->session, rig_queue(rig), 0);
}

/* A ring that begins again is told at once, whatever waits: the last process may have died before
 * it told. */
static void offer_three_and_end_one(struct rig *rig)
{
	start(rig);
	for (unsigned head = 0; head < 4; head++)
		rig_offer(rig, head);
	end(rig, 0);
	cr_assert_eq(n_told(rig), 1);
	end(rig, 1);
}

Test(vhost_queue, what_ends_is_shown_at_once_and_told_when_most_has_ended)
{
	struct rig rig;

	offer_three_and_end_one(&rig);
	cr_assert_eq(rig.used->idx, 2);
	cr_assert_eq(n_told(&rig), 0, "two wait in the ring");
	end(&rig, 2);
	cr_assert_eq(n_told(&rig), 1);
	end(&rig, 3);
	cr_assert_eq(n_told(&rig), 1, "nothing waits");
	rig_close(&rig);
}

Test(vhost_queue, what_it_was_not_told_of_it_is_told_of_before_the_server_sleeps)
{
	struct rig rig;

	offer_three_and_end_one(&rig);
	cr_assert_eq(n_told(&rig), 0);
	vhost_queue_tell(rig_queue(&rig));
	cr_assert_eq(n_told(&rig), 1);
	vhost_queue_tell(rig_queue(&rig));
	cr_assert_eq(n_told(&rig), 0, "once");
	rig_close(&rig);
}

Test(vhost_queue, a_ring_that_is_nowhere_tells_nothing)
{
	struct rig rig;

	offer_three_and_end_one(&rig);
	rig_queue(&rig)->ring.desc = NULL;   /* as where its memory was taken away */
	rig_queue(&rig)->must_signal = true; /* it has another descriptor */
	vhost_queue_tell(rig_queue(&rig));
	cr_assert_eq(n_told(&rig), 0);
	cr_assert(rig_queue(&rig)->must_signal, "it is told later");
	rig_close(&rig);
}
