/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A source behind a network: what the library asks goes to a thread of the remote's own, which
 * spreads it over its connections, connects again where one is lost, and ends what waited too long.
 */
#ifndef TOOLS_NBD_REMOTE_H
#define TOOLS_NBD_REMOTE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/nbd/dial.h"
#include "tools/nbd/names/place.h"
#include "tools/nbd/record.h"
#include "tools/nbd/tls.h"

#define REMOTE_MAX_WIRES 8

/* They stay as they are, and where they are, while a remote is open. */
struct remote_settings {
	uint64_t open_ns, remote_ns, guest_ns; /* how long calls, jobs and guests wait */
	uint64_t request_ns;                   /* without an answer: the connection is given up */
	unsigned n_wires;
	const struct tls_keys *keys; /* for places with TLS */
	int give_up_fd; /* an eventfd, written to and never read: nothing waits any more */
};

/* Those of one struct bpull_nbd. */
struct remotes {
	pthread_mutex_t lock;
	struct remote *first; /* under lock: open ones */
};

struct remote_options {
	struct remotes *remotes; /* stays where it is */
	bool is_operators;       /* no policy is asked for the way */
	const struct remote_settings *settings;
	const struct nbd_place *place;
	const char *identity;  /* copied */
	struct dial_way way;   /* the remote's from then on, also where it does not open */
	struct record *record; /* the same; closed with it */
	/* Called last, when the remote is freed. */
	void (*closed)(void *opaque);
	void *opaque;
};

/* Connects, waits for it (settings->open_ns), and fills *source. 0, or -errno and a sentence:
 * closed() was called then, too. */
int remote_open(const struct remote_options *options, struct bpull_source *source,
		struct bpull_error *error);

/* Many images have one base, and each asks for it: a remote that is open, is connected and has the
 * same identity, by a way that asked the same policy, is used once more instead of opened. True:
 * *source is it, to be closed like any other. */
bool remotes_share(struct remotes *remotes, const char *identity, bool is_operators,
		   struct bpull_source *source);

#endif
