/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A place behind a network: a server's address, whether TLS leads there, and one of its exports. */
#ifndef TOOLS_NBD_NAMES_PLACE_H
#define TOOLS_NBD_NAMES_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#define NBD_DEFAULT_PORT 10809
#define NBD_EXPORT_MAX   4096 /* bytes of an export's name: the protocol's limit */

struct nbd_place {
	bool tls;
	bool is_unix;
	char *host;        /* not of unix: a name in lower case, or an address in its usual form,
			      without brackets */
	uint16_t port;     /* not of unix; never 0 */
	char *socket_path; /* of unix: absolute, of any length, without control characters */
	char *export_name; /* never NULL; "": the server's default */
};

/* Frees what is in it, not the struct; zeroes it. A place of zeros is allowed. */
void nbd_place_free(struct nbd_place *place);
/* 0 or -ENOMEM, with *to all zeros. */
int nbd_place_copy(struct nbd_place *to, const struct nbd_place *from);
bool nbd_place_equal(const struct nbd_place *a, const struct nbd_place *b);

/* The place as a URI, the same for equal places and for no others: printable ASCII, which
 * nbd_name_read() reads as this place. For identities, messages, headers. nbd://host:10809/export
 * and nbd+unix:///export?socket=/path, with "s" for TLS. Free with free(); NULL: no memory. */
char *nbd_place_uri(const struct nbd_place *place);

#endif
