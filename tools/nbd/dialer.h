/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The helper thread of a remote: it waits for lookups, connections and TLS, so that the remote's
 * own thread never does; and it looks now and then whether that one is held up.
 */
#ifndef TOOLS_NBD_DIALER_H
#define TOOLS_NBD_DIALER_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/nbd/dial.h"
#include "tools/nbd/tls.h"

struct dialer;

struct dialer_result {
	int rc;               /* 0 or -errno */
	int fd;               /* for libnbd */
	struct tls_pump *tls; /* or NULL */
	char why[DIAL_WHY_CAP];
};

struct dialer_options {
	struct dial_way way;         /* the dialer's from then on, after success */
	const struct tls_keys *keys; /* NULL: no TLS */
	char *host;                  /* for the certificate; the dialer's; NULL: a unix socket */
	uint64_t timeout_ns;         /* of one attempt */
	int done_fd;                 /* an eventfd that is written to when there is a result */
	/* Called on the dialer's thread each tick_ns. */
	void (*tick)(void *opaque);
	void *opaque;
	uint64_t tick_ns;
};

/* 0 or -errno. */
int dialer_open(const struct dialer_options *options, struct dialer **dialer);
/* Begins an attempt; none may be under way. */
void dialer_dial(struct dialer *dialer);
/* Takes the result of an attempt: false, it is not over. */
bool dialer_take(struct dialer *dialer, struct dialer_result *result);
/* Cuts an attempt short and ends the thread. NULL is allowed. */
void dialer_close(struct dialer *dialer);
/* In a child of fork(), where the thread is not: closes the descriptors only, but for one or two
 * of a connection that the server has not taken yet (dial.c). */
void dialer_leave(const struct dialer *dialer);

#endif
