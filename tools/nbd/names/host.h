/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names of hosts, addresses and ports as texts. */
#ifndef TOOLS_NBD_NAMES_HOST_H
#define TOOLS_NBD_NAMES_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* An IPv4 address (also where it was written as an IPv6 one) or an IPv6 address. */
struct nbd_address {
	uint8_t bytes[16];
	unsigned n_bits; /* 32 or 128 */
};

#define NBD_ADDRESS_CAP 48 /* bytes of an address's text */

/* Reads an address in its own form, without brackets: four decimal numbers, or an IPv6 address
 * without a zone. */
bool nbd_address_read(const char *text, struct nbd_address *address);
/* A socket's address; false for other families and wrong lengths. */
bool nbd_address_of(const struct sockaddr *from, socklen_t len, struct nbd_address *address);
/* The first `bits` of it are those of the network. Never across families. */
bool nbd_address_is_in(const struct nbd_address *address, const struct nbd_address *network,
		       unsigned bits);
const char *nbd_address_text(const struct nbd_address *address, char text[NBD_ADDRESS_CAP]);

/* Reads the host in the first len bytes of text, an address without brackets or a name: *host is
 * its usual form (free with free()). 0; -EINVAL and *why, a static text that goes on behind "the
 * host"; or -ENOMEM and NULL. */
int nbd_host_read(const char *text, size_t len, char **host, const char **why);
/* Reads HOST:PORT, where an IPv6 address stands in brackets. Where there is no ":PORT" the port is
 * `otherwise`; 0: there must be one. The same errors. */
int nbd_host_port_read(const char *text, size_t len, uint16_t otherwise, char **host,
		       uint16_t *port, const char **why);
/* 1 to 65535, decimal digits without a zero in front. */
bool nbd_port_read(const char *text, size_t len, uint16_t *port);

#endif
