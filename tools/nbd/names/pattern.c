/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Patterns resemble names but for the slashes: a URI that was meant as a pattern is refused with
 * the pattern that says the same. A network with bits behind its prefix is refused too: either
 * the address or the prefix is not what was meant.
 */
#include "tools/nbd/names/pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/nbd/names/fields.h"
#include "tools/nbd/names/policy.h"
#include "tools/nbd/names/refusal.h"

#define FORMS                                                                                     \
	"a pattern is nbd:HOST[:PORT], nbd:NETWORK/BITS[:PORT] or nbd+unix:DIR, or one of these " \
	"with nbds, for TLS only"

static int read_bits(const char *text, size_t len, unsigned max, unsigned *bits)
{
	*bits = 0;
	if (!len || len > 3 || (len > 1 && text[0] == '0'))
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		*bits = *bits * 10 + (unsigned)(text[i] - '0');
	}
	return *bits <= max ? 0 : -1;
}

/* Cuts off the bits behind the prefix. True: there were none. */
static bool mask(struct nbd_address *network, unsigned n_bits)
{
	bool was_clean = true;

	for (unsigned bit = n_bits; bit < network->n_bits; bit++) {
		uint8_t one = (uint8_t)(0x80 >> bit % 8);

		was_clean &= !(network->bytes[bit / 8] & one);
		network->bytes[bit / 8] &= (uint8_t)~one;
	}
	return was_clean;
}

/* [ADDRESS], or ADDRESS, before the slash. */
static bool read_network_address(const char *text, size_t len, struct nbd_address *network)
{
	char address[NBD_ADDRESS_CAP] = "";
	bool in_brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';

	text += in_brackets;
	len -= 2 * in_brackets;
	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	return nbd_address_read(address, network) && (!in_brackets || strchr(address, ':'));
}

/* An IPv6 network that holds IPv4 addresses is theirs; the address was read as one of those. */
static unsigned skipped_bits(const char *text, const struct nbd_address *network)
{
	return network->n_bits == 32 && memchr(text, ':', strcspn(text, "/")) ? 96 : 0;
}

static int read_network(const struct nbd_reading *reading, const char *text, const char *slash,
			struct nbd_pattern *pattern)
{
	const char *bits = slash + 1;
	size_t bits_len = strcspn(bits, ":");
	struct nbd_address *network = &pattern->network;
	char usual[NBD_ADDRESS_CAP];
	unsigned skipped;

	pattern->kind = NBD_PATTERN_NETWORK;
	if (!read_network_address(text, (size_t)(slash - text), network))
		return nbd_bad_name(reading, "before the '/' there must be an address");
	skipped = skipped_bits(text, network);
	if (read_bits(bits, bits_len, network->n_bits + skipped, &pattern->n_bits) ||
	    pattern->n_bits < skipped)
		return nbd_bad_name(reading,
				    "behind the '/' there must be a number of bits, %u to "
				    "%u",
				    skipped, network->n_bits + skipped);
	pattern->n_bits -= skipped;
	if (bits[bits_len] &&
	    !nbd_port_read(bits + bits_len + 1, strlen(bits + bits_len + 1), &pattern->port))
		return nbd_bad_name(reading, "behind the last ':' there must be a port (1 to "
					     "65535)");
	if (!mask(network, pattern->n_bits))
		return nbd_bad_name(reading, "the network of that many bits is %s/%u",
				    nbd_address_text(network, usual), pattern->n_bits);
	return 0;
}

/* Without a port, a colon in brackets is still the address's. */
static int read_host(const struct nbd_reading *reading, const char *text,
		     struct nbd_pattern *pattern)
{
	const char *why;
	/* The port that stands for none while it is read: 0 would ask for one. */
	int rc = nbd_host_port_read(text, strlen(text), NBD_DEFAULT_PORT, &pattern->host,
				    &pattern->port, &why);
	const char *last = strrchr(text, ':');

	if (rc == -ENOMEM)
		return nbd_refuse_memory(reading->error);
	if (rc)
		return nbd_bad_name(reading, "the host %s", why);
	if (!last || strchr(last, ']'))
		pattern->port = 0;
	if (nbd_address_read(pattern->host, &pattern->network)) {
		pattern->kind = NBD_PATTERN_NETWORK;
		pattern->n_bits = pattern->network.n_bits;
	}
	return 0;
}

static int read_sockets(const struct nbd_reading *reading, const char *text,
			struct nbd_pattern *pattern)
{
	pattern->kind = NBD_PATTERN_SOCKETS;
	if (!*text)
		return nbd_bad_name(reading, "the directory is missing; " FORMS);
	if (nbd_has_control(text))
		return nbd_bad_name(reading, "it holds characters that control or hide text");
	pattern->path = strdup(text);
	return pattern->path ? 0 : nbd_refuse_memory(reading->error);
}

static int read_rest(const struct nbd_reading *reading, const char *text,
		     struct nbd_pattern *pattern)
{
	const char *slash = strchr(text, '/');
	const char *colon = strchr(text, ':') + 1;

	if (!strncmp(colon, "//", 2))
		return nbd_bad_name(reading, "this is a name; " FORMS);
	if (!strncmp(text, "+unix:", 6))
		return read_sockets(reading, colon, pattern);
	if (slash)
		return read_network(reading, colon, slash, pattern);
	return read_host(reading, colon, pattern);
}

int nbd_pattern_read(const char *text, struct nbd_pattern *pattern, struct bpull_error *error)
{
	static const char *const words[] = { "nbd:", "nbd+unix:", "nbds:", "nbds+unix:" };
	struct nbd_reading reading = { .name = text, .error = error };
	int rc = -1;

	*pattern = (struct nbd_pattern){ .text = strdup(text) };
	if (!pattern->text)
		return nbd_refuse_memory(error);
	for (size_t i = 0; rc < 0 && i < sizeof(words) / sizeof(words[0]); i++)
		rc = strncmp(text, words[i], strlen(words[i])) != 0 ? -1 : (int)i;
	if (rc < 0) {
		rc = nbd_bad_name(&reading, FORMS);
	} else {
		pattern->tls_only = rc >= 2;
		rc = read_rest(&reading, text + (pattern->tls_only ? 4 : 3), pattern);
	}
	if (rc)
		nbd_pattern_free(pattern);
	return rc;
}

void nbd_pattern_free(struct nbd_pattern *pattern)
{
	free(pattern->text);
	free(pattern->host);
	free(pattern->path);
	*pattern = (struct nbd_pattern){ 0 };
}
