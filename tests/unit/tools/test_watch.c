/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control socket's descriptors in the server's epoll. A closed one's number may be used again
 * before the list is looked at: by a kick, by a descriptor of another thread, by the next client.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/support/time_limit.h"
#include "tools/serve/link.h"
#include "tools/serve/watch.h"

TIME_LIMIT(10);

/* In the socket's place: its list, and how many clients it has taken. */
struct control {
	struct pollfd fds[CONTROL_MAX_FDS];
	int n;
	unsigned long n_taken;
};

int control_poll_fds(const struct control *control, struct pollfd *fds)
{
	for (int i = 0; i < control->n; i++)
		fds[i] = control->fds[i];
	return control->n;
}

unsigned long control_n_taken(const struct control *control)
{
	return control->n_taken;
}

static struct control control;
static struct watch watch;

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	cr_assert_geq(fd, 0);
	return fd;
}

/* A socket, and a client: its descriptor. */
static int begin(void)
{
	int fd = new_eventfd();

	watch = (struct watch){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	control = (struct control){ .fds = { { new_eventfd(), POLLIN, 0 }, { fd, POLLIN, 0 } },
				    .n = 2,
				    .n_taken = 1 };
	watch_update(&watch, &control);
	return fd;
}

/* Closes a descriptor; the next one that is opened has its number. */
static void use_number_again(int fd)
{
	close(fd);
	cr_assert_eq(new_eventfd(), fd);
}

static bool is_heard(uint64_t tag)
{
	struct epoll_event event;

	return epoll_wait(watch.epoll_fd, &event, 1, 0) == 1 && event.data.u64 == tag;
}

static void say(int fd)
{
	cr_assert_eq(eventfd_write(fd, 1), 0);
}

Test(watch, a_client_is_heard)
{
	int fd = begin();

	cr_assert_not(is_heard(TAG_CONTROL));
	say(fd);
	cr_assert(is_heard(TAG_CONTROL));
}

Test(watch, what_is_wanted_of_a_client_changes)
{
	int fd = begin();

	control.fds[1].events = POLLIN | POLLOUT;
	watch_update(&watch, &control);
	cr_assert(is_heard(TAG_CONTROL), "it may be written to");
	control.fds[1].events = 0;
	watch_update(&watch, &control);
	say(fd);
	cr_assert_not(is_heard(TAG_CONTROL));
}

Test(watch, a_gone_clients_number_stays_its_new_owners)
{
	struct epoll_event kick = { .events = EPOLLIN, .data.u64 = TAG_WORK };
	int fd = begin();

	use_number_again(fd);
	cr_assert_eq(epoll_ctl(watch.epoll_fd, EPOLL_CTL_ADD, fd, &kick), 0);
	control.n = 1;
	watch_update(&watch, &control);
	say(fd);
	cr_assert(is_heard(TAG_WORK), "the kick is not heard any more");
}

Test(watch, a_client_with_a_gone_ones_number_is_heard)
{
	int fd = begin();

	use_number_again(fd);
	control.n_taken++;
	watch_update(&watch, &control);
	say(fd);
	cr_assert(is_heard(TAG_CONTROL));
}
