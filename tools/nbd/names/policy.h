/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which places a name in an image may lead to. Without a pattern: to none.
 *
 *     nbd:HOST[:PORT]          the host of this name, with whatever address it has
 *     nbd:ADDRESS[:PORT]       an IPv4 address, or an IPv6 address in brackets
 *     nbd:NETWORK/BITS[:PORT]  a network: 10.0.0.0/8, [fd00::]/8
 *     nbd+unix:PATH            the sockets below a directory, or one socket
 *     nbds:..., nbds+unix:...  the same with TLS only; the others allow both
 *
 * Without a PORT all ports. What connects asks three times: nbd_policy_ask() before anything is
 * looked up; for ASK_SOCKET nbd_policy_allows_socket() of what nbd_socket_open() says; for
 * ASK_ADDRESS nbd_policy_allows_address() of each address, before it connects there. Only where a
 * pattern of addresses could allow it is a host looked up that no pattern names.
 */
#ifndef TOOLS_NBD_NAMES_POLICY_H
#define TOOLS_NBD_NAMES_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "engine/blockpull.h"
#include "tools/nbd/names/place.h"

struct nbd_pattern;

/* Begin with zeros. Once it is filled it is only read, by any thread. */
struct nbd_policy {
	struct nbd_pattern *patterns; /* owned */
	size_t n;
};

/* Takes one pattern. 0, or -EINVAL, -ENOMEM and a sentence that begins with the pattern. */
int nbd_policy_add(struct nbd_policy *policy, const char *pattern, struct bpull_error *error);
/* Resolves the directories of the patterns from `first` on, once, where the process sees the file
 * system. One that does not exist stays as it is written. Returns the index of the first pattern
 * from `first` on whose directory does not exist, or n. */
size_t nbd_policy_resolve(struct nbd_policy *policy, size_t first);
/* The text of a pattern. */
const char *nbd_policy_text(const struct nbd_policy *policy, size_t index);
void nbd_policy_free(struct nbd_policy *policy);

enum nbd_verdict {
	NBD_REFUSED = 0,
	NBD_ALLOWED = 1,
	NBD_ASK_SOCKET = 2,  /* a unix socket: where its name really leads decides */
	NBD_ASK_ADDRESS = 3, /* a host's name: each of its addresses decides */
};

/* What the name alone says. A literal address is ALLOWED or REFUSED. */
enum nbd_verdict nbd_policy_ask(const struct nbd_policy *policy, const struct nbd_place *place);
/* real_path: as nbd_socket_open() gives it. What is not absolute and plain is refused. */
bool nbd_policy_allows_socket(const struct nbd_policy *policy, const struct nbd_place *place,
			      const char *real_path);
/* An address that the host of a place was looked up to have; the port is the place's. True for all
 * addresses of a host that is allowed by its name. Only AF_INET and AF_INET6. */
bool nbd_policy_allows_address(const struct nbd_policy *policy, const struct nbd_place *place,
			       const struct sockaddr *address, socklen_t len);

/* Fills in *error with what would let the place pass. real_path: of a socket, where it is known;
 * address: the one that was refused; else NULL. Returns -EPERM. */
int nbd_policy_refuse(const struct nbd_place *place, const char *real_path,
		      const struct sockaddr *address, struct bpull_error *error);
/* The same of a place that the user typed, and no image names. */
int nbd_policy_refuse_typed(const struct nbd_place *place, struct bpull_error *error);

#endif
