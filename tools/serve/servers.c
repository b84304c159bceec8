/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A server that is lost is told of by itself, not only where a pull pauses: what
 * the machine sees of it is a disk that is slow, and then errors.
 */
#include "tools/serve/servers.h"

#include <errno.h>
#include <sys/epoll.h>

#include "tools/cli/say.h"
#include "tools/serve/link.h"

int servers_watch(const struct bases *bases, int epoll_fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = TAG_SERVERS };
	int fd = bases_fd(bases);

	return fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Errors of the machine's requests are all that else tells of a server that stays away. */
static void servers_tell_one(const struct bpull_nbd_source *source, enum bpull_nbd_state before,
			     bool quiet)
{
	const char *why = *source->message ? ": " : "";

	switch (source->state) {
	case BPULL_NBD_RECONNECTING:
		if (!quiet)
			say_note("'%s' is lost%s%s; trying to connect again", source->uri, why,
				 source->message);
		break;
	case BPULL_NBD_AWAY:
		say_error("'%s' stays away%s%s; still trying to connect", source->uri, why,
			  source->message);
		break;
	case BPULL_NBD_GONE:
		say_error("'%s' is gone for good%s%s", source->uri, why, source->message);
		break;
	case BPULL_NBD_CONNECTED:
		if (!quiet && (before == BPULL_NBD_RECONNECTING || before == BPULL_NBD_AWAY))
			say_note("'%s' is back", source->uri);
		break;
	case BPULL_NBD_OPENING:
	case BPULL_NBD_CLOSED: break;
	}
}

void servers_tell(struct bases *bases, bool quiet)
{
	struct bpull_nbd_source source;
	enum bpull_nbd_state before;

	while (bases_next_change(bases, &source, &before))
		servers_tell_one(&source, before, quiet);
}
