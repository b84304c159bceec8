/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One connection to a server, by libnbd's calls that do not wait: from a connected socket through
 * the handshake and the look at what is served, to requests in flight. It belongs to the thread of
 * its remote.
 */
#ifndef TOOLS_NBD_WIRE_H
#define TOOLS_NBD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/nbd/ask.h"
#include "tools/nbd/fingerprint.h"

/* Requests of one connection in flight. */
#define WIRE_SLOTS 16
/* Bytes of one request at most, if the server allows as many. */
#define WIRE_MAX_REQUEST (1 << 20)

struct nbd_handle;
struct tls_pump;

enum wire_state {
	WIRE_OFF = 0,   /* there is none */
	WIRE_HANDSHAKE, /* the server says what it has */
	WIRE_CHECK,     /* its first and last bytes are read */
	WIRE_READY,     /* requests may be sent */
};

/* What a server says of its export, and what of its content tells it from another one. */
struct wire_export {
	uint64_t length;
	uint32_t block_size;  /* a power of two, at most 64 KiB: what requests are aligned to */
	uint32_t max_request; /* a multiple of block_size */
	bool is_read_only;    /* no client writes to it */
	bool is_multi;        /* several connections see one disk */
	bool has_extents;     /* base:allocation was agreed on */
	struct fingerprint print;
};

struct wire {
	enum wire_state state;
	struct nbd_handle *handle;
	int own_fd;           /* of a socket that libnbd did not take, or -1 */
	struct tls_pump *tls; /* NULL: the socket is libnbd's own */
	struct ask_piece *slots[WIRE_SLOTS];
	unsigned n_in_flight;
	uint64_t n_answers; /* of this connection */
	/* Since then it owes an answer, ns: of the last one, or of the first request after it. */
	uint64_t since_ns;
	struct wire_export export;
	struct fingerprint_reading reading;
	uint64_t checked_bytes; /* that the reading took */
	struct ask_piece check; /* the request of the reading; not in slots */
	char why[256];          /* why it can't be used; safe to print */
};

/* Begins the handshake on a connected socket, which is the wire's from then on, as tls is (NULL:
 * none; else `fd` is the inner end of its pair). The server's first words are read here, if they
 * have come. 0, or -errno with `why`: wire_end() is called next. */
int wire_begin(struct wire *wire, int fd, struct tls_pump *tls, const char *export_name,
	       uint64_t now_ns);
/* What it waits for, for poll(): events of its descriptor. */
short wire_events(const struct wire *wire, int *fd);
/* Does what the descriptor's revents allow, and goes on to the next state. 0, or -errno with `why`:
 * it is of no use any more, and wire_end() is called next. */
int wire_go_on(struct wire *wire, short revents, uint64_t now_ns);
/* Sends a piece; a slot is free. 0; -errno: it was not sent, and is the caller's: -ECONNRESET the
 * wire is of no use any more, else the piece is not. */
int wire_send(struct wire *wire, struct ask_piece *piece, uint64_t now_ns);
/* Takes a piece that is over (is_over, error) from its slot, or NULL. */
struct ask_piece *wire_take(struct wire *wire, uint64_t now_ns);
/* A piece has waited for longer than that while answers to twice as many others came as can be in
 * flight: the server answers all but this one. */
bool wire_passes_over(const struct wire *wire, uint64_t now_ns, uint64_t patience_ns);
/* Takes any piece that is in flight, after wire_end(), or NULL. */
struct ask_piece *wire_take_back(struct wire *wire);
/* Ends the connection at once. No buffer of a piece is touched any more. */
void wire_end(struct wire *wire);

#endif
