/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a connected socket is made for a place: here and now, or by a broker (broker.h). */
#ifndef TOOLS_NBD_DIAL_H
#define TOOLS_NBD_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/nbd/names/place.h"
#include "tools/nbd/names/policy.h"

#define DIAL_WHY_CAP 256

struct dialed {
	int fd;                 /* connected, close on exec, does not block; the caller's */
	int pair[2];            /* for places with TLS: a pair of sockets, the same; else -1 */
	char why[DIAL_WHY_CAP]; /* of a failure; safe to print */
};

/* A way to make sockets for one place. */
struct dial_way {
	/* Waits until deadline_ns (CLOCK_MONOTONIC), or until cancel_fd can be read or has hung up:
	 * -ECANCELED. 0, or -errno with `why`; then no descriptor is left. On a helper's thread.
	 * *dialed names each descriptor that it will return from when it exists: a child of fork()
	 * looks there. */
	int (*dial)(void *way, int cancel_fd, uint64_t deadline_ns, struct dialed *dialed);
	void (*free)(void *way);
	/* In a child of fork(): closes its descriptors and frees nothing. NULL: it has none. */
	void (*leave)(void *way);
	void *way;
};

/* Dials from this process. `policy` stays the caller's (NULL: the place is the operator's own, and
 * is not asked for); the place is copied. 0 or -ENOMEM. */
int dial_direct(const struct nbd_place *place, const struct nbd_policy *policy,
		struct dial_way *way);

/* Waits for `events` of fd: 0, -ECANCELED or -ETIMEDOUT. */
int dial_wait(int fd, short events, int cancel_fd, uint64_t deadline_ns);

#endif
