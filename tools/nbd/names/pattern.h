/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One pattern of --allow-remote, and how one is written that would let a place pass. */
#ifndef TOOLS_NBD_NAMES_PATTERN_H
#define TOOLS_NBD_NAMES_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/nbd/names/host.h"

enum nbd_pattern_kind {
	NBD_PATTERN_HOST = 0,
	NBD_PATTERN_NETWORK = 1,
	NBD_PATTERN_SOCKETS = 2,
};

struct nbd_pattern {
	enum nbd_pattern_kind kind;
	bool tls_only;
	uint16_t port;              /* 0: all */
	char *text;                 /* as it was given */
	char *host;                 /* of HOST, in its usual form */
	struct nbd_address network; /* of NETWORK */
	unsigned n_bits;
	char *path; /* of SOCKETS: a directory or a socket, as given until it is resolved */
};

/* 0, and it is to be freed; or -EINVAL, -ENOMEM and a sentence that begins with the text. */
int nbd_pattern_read(const char *text, struct nbd_pattern *pattern, struct bpull_error *error);
void nbd_pattern_free(struct nbd_pattern *pattern);

#endif
