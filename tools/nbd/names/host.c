/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host is either exactly an address or certainly none. The C library takes 127.1, 0177.0.0.1 and
 * 2130706433 for addresses, too, and a policy that took them for names would be led around: a name
 * whose last label is a number is refused. An IPv6 address that stands for an IPv4 one leads to
 * that one, and so it is that one here.
 */
#include "tools/nbd/names/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX 253u

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void take_ipv6(const void *bytes, struct nbd_address *address)
{
	memcpy(address->bytes, bytes, 16);
	address->n_bits = 128;
	if (memcmp(address->bytes, mapped_prefix, sizeof(mapped_prefix)) != 0)
		return;
	memmove(address->bytes, address->bytes + 12, 4);
	memset(address->bytes + 4, 0, 12);
	address->n_bits = 32;
}

bool nbd_address_read(const char *text, struct nbd_address *address)
{
	uint8_t bytes[16] = { 0 };

	*address = (struct nbd_address){ 0 };
	if (strchr(text, ':')) {
		if (inet_pton(AF_INET6, text, bytes) != 1)
			return false;
		take_ipv6(bytes, address);
		return true;
	}
	address->n_bits = 32;
	return inet_pton(AF_INET, text, address->bytes) == 1;
}

bool nbd_address_of(const struct sockaddr *from, socklen_t len, struct nbd_address *address)
{
	struct sockaddr_in6 in6;
	struct sockaddr_in in;

	*address = (struct nbd_address){ 0 };
	if (from->sa_family == AF_INET && len == sizeof(in)) {
		memcpy(&in, from, sizeof(in));
		memcpy(address->bytes, &in.sin_addr, 4);
		address->n_bits = 32;
		return true;
	}
	if (from->sa_family != AF_INET6 || len != sizeof(in6))
		return false;
	memcpy(&in6, from, sizeof(in6));
	take_ipv6(&in6.sin6_addr, address);
	return true;
}

bool nbd_address_is_in(const struct nbd_address *address, const struct nbd_address *network,
		       unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (address->n_bits != network->n_bits || bits > address->n_bits)
		return false;
	if (memcmp(address->bytes, network->bytes, whole) != 0)
		return false;
	return !rest || (address->bytes[whole] ^ network->bytes[whole]) >> (8 - rest) == 0;
}

const char *nbd_address_text(const struct nbd_address *address, char text[NBD_ADDRESS_CAP])
{
	int family = address->n_bits == 32 ? AF_INET : AF_INET6;

	return inet_ntop(family, address->bytes, text, NBD_ADDRESS_CAP);
}

/* The numbers that inet_aton() takes in the place of an address's last: decimal, octal, 0x. */
static bool is_number(const char *label)
{
	if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
		return !label[2 + strspn(label + 2, "0123456789abcdefABCDEF")];
	return !label[strspn(label, "0123456789")];
}

static const char *why_no_name(const char *name)
{
	const char *dot = strrchr(name, '.');
	char last = '.';

	for (const char *c = name; *c; last = *c++) {
		bool is_letter = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9');

		if (!is_letter && *c != '.' && *c != '-' && *c != '_')
			return "holds what no host's name holds";
		if (last == '.' && (*c == '.' || *c == '-'))
			return "begins a label with '.' or '-'";
	}
	if (last == '.')
		return "ends with '.'";
	return is_number(dot ? dot + 1 : name) ? "is a number, and no address in its usual form"
					       : NULL;
}

/* In place; NULL: it is a host now. */
static const char *make_usual(char *host)
{
	struct nbd_address address;

	if (nbd_address_read(host, &address)) {
		/* Room for it: nbd_host_read() allocates as much. */
		nbd_address_text(&address, host);
		return NULL;
	}
	if (strchr(host, ':'))
		return "is no IPv6 address in its usual form";
	for (char *c = host; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	return why_no_name(host);
}

int nbd_host_read(const char *text, size_t len, char **host, const char **why)
{
	*host = NULL;
	if (!len)
		*why = "is missing";
	else if (len > HOST_MAX)
		*why = "is longer than 253 bytes";
	else if (memchr(text, 0, len))
		*why = "holds what no host's name holds";
	else
		*why = NULL;
	if (*why)
		return -EINVAL;
	*host = calloc(1, len + NBD_ADDRESS_CAP);
	if (!*host)
		return -ENOMEM;
	memcpy(*host, text, len);
	*why = make_usual(*host);
	if (!*why)
		return 0;
	free(*host);
	*host = NULL;
	return -EINVAL;
}

bool nbd_port_read(const char *text, size_t len, uint16_t *port)
{
	unsigned value = 0;

	if (!len || len > 5 || text[0] == '0')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*port = (uint16_t)value;
	return value <= UINT16_MAX;
}

/* Where the host ends; SIZE_MAX: a bracket does not close, or does not stand around all of it. */
static size_t host_end(const char *text, size_t len)
{
	const char *end = len && text[0] == '[' ? memchr(text, ']', len) : memchr(text, ':', len);

	if (len && text[0] == '[')
		return end && (end + 1 == text + len || end[1] == ':') ? (size_t)(end + 1 - text)
								       : SIZE_MAX;
	return end ? (size_t)(end - text) : len;
}

int nbd_host_port_read(const char *text, size_t len, uint16_t otherwise, char **host,
		       uint16_t *port, const char **why)
{
	bool in_brackets = len && text[0] == '[';
	size_t end = host_end(text, len);

	*host = NULL;
	*why = NULL;
	*port = otherwise;
	if (end == SIZE_MAX)
		*why = "has a '[' without its ']'";
	else if (in_brackets && !memchr(text, ':', end))
		*why = "has no IPv6 address in its brackets";
	else if (end < len && memchr(text + end + 1, ':', len - end - 1))
		*why = "has more than one ':' (an IPv6 address stands in brackets)";
	else if (end == len && !otherwise)
		*why = "is without a port";
	else if (end < len && !nbd_port_read(text + end + 1, len - end - 1, port))
		*why = "is followed by what is no port (1 to 65535)";
	if (*why)
		return -EINVAL;
	return nbd_host_read(text + in_brackets, end - 2 * in_brackets, host, why);
}
