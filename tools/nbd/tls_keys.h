/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Keys as GnuTLS has them: one of the two. */
#ifndef TOOLS_NBD_TLS_KEYS_H
#define TOOLS_NBD_TLS_KEYS_H

#include <gnutls/gnutls.h>

#include "tools/nbd/tls.h"

struct tls_keys {
	gnutls_certificate_credentials_t certificates; /* or NULL */
	gnutls_psk_client_credentials_t psk;           /* or NULL */
};

#endif
