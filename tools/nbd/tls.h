/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * TLS of our own below libnbd. libnbd checks a server's certificate only where it resolved and
 * connected to a host's name itself, not on a socket that it is given, and reads key files at each
 * connection, which a closed sandbox does not allow. So the keys are read once, the handshake
 * up to TLS is spoken here, the certificate is checked here, and libnbd talks through a pair of
 * sockets to a server that it takes for one without TLS.
 */
#ifndef TOOLS_NBD_TLS_H
#define TOOLS_NBD_TLS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/blockpull.h"

struct tls_keys;
struct tls_pump;

/* What the operator named. All are read at once and not looked at again. */
struct tls_files {
	const char *certificates; /* a directory as libnbd has it: ca-cert.pem, and where the server
				     wants it client-cert.pem and client-key.pem; NULL: the system's
				     authorities */
	const char *psk_file;     /* NAME:HEX lines; NULL: certificates */
	const char *user;         /* whose line of the file; needed with it */
};

/* 0, or -errno and a sentence. Free with tls_keys_free(). */
int tls_keys_open(const struct tls_files *files, struct tls_keys **keys, struct bpull_error *error);
void tls_keys_free(struct tls_keys *keys);

/* Speaks with the server over `fd` until all is encrypted and its certificate is that of `host`
 * (not asked with a PSK, which proves both sides). pair[0] is libnbd's end afterwards, pair[1] the
 * pump's; on success the pump owns fd and pair[1]. Waits: until deadline_ns (CLOCK_MONOTONIC), or
 * until cancel_fd can be read (-ECANCELED). -errno and why: nothing is taken over. */
int tls_pump_begin(const struct tls_keys *keys, const char *host, int fd, int pair_end,
		   int cancel_fd, uint64_t deadline_ns, struct tls_pump **pump, char why[256]);
#define TLS_PUMP_FDS 2
/* What it waits for, of its two descriptors. */
void tls_pump_events(const struct tls_pump *pump, struct pollfd polls[TLS_PUMP_FDS]);
/* True: what it has decrypted already can be moved without waiting for a descriptor. */
bool tls_pump_is_due(const struct tls_pump *pump);
/* Moves bytes both ways as far as that needs no waiting. When either side has ended, it ends the
 * other. */
void tls_pump_go_on(struct tls_pump *pump);
/* Why it ended, or NULL. */
const char *tls_pump_why(const struct tls_pump *pump);
/* Its descriptors, which stay its own. */
void tls_pump_fds(const struct tls_pump *pump, int fds[TLS_PUMP_FDS]);
/* Closes its descriptors. NULL is allowed. */
void tls_pump_free(struct tls_pump *pump);

#endif
