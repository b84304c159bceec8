/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the broker takes from a process that may be in other hands by then. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/nbd/broker_child.h"

/* The kernel rounds the room for descriptors up: there is some for one more. */
Test(nbd_broker, takes_no_more_descriptors_than_it_has_room_for)
{
	struct {
		int fds[BROKER_FDS], behind;
	} got = { .behind = 12345 };
	int many[BROKER_FDS + 1], pair[2], before, after;
	char byte = 1;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	before = dup(0);
	close(before);
	for (unsigned i = 0; i < BROKER_FDS + 1; i++)
		many[i] = pair[0];
	cr_assert_eq(broker_send(pair[0], &byte, 1, many, BROKER_FDS + 1), 0);
	cr_assert_eq(broker_receive(pair[1], &byte, 1, got.fds), 1);
	cr_expect_eq(got.behind, 12345);
	broker_close_all(got.fds);
	after = dup(0);
	cr_expect_eq(after, before, "a descriptor is left");
	close(after);
	close(pair[0]);
	close(pair[1]);
}
