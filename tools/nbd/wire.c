/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libnbd calls back while it is called: a callback only marks its piece, and what follows from that
 * is done when the call has returned. A server that goes away ends all commands with an error; they
 * stay in their slots until the remote takes them back, and are asked again elsewhere.
 */
#include "tools/nbd/wire.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/nbd/tls.h"

#define WIRE_MIN_REQUEST 4096
#define WIRE_MAX_BLOCK   (64 << 10)

/* Says why, in ASCII: what libnbd says may have a server's words in it. Returns rc. */
__attribute__((format(printf, 3, 4))) static int wire_fail(struct wire *wire, int rc,
							   const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(wire->why, sizeof(wire->why), format, args);
	va_end(args);
	for (char *c = wire->why; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return rc;
}

static int wire_fail_nbd(struct wire *wire)
{
	int error = nbd_get_errno();
	const char *text = nbd_get_error();

	if (wire->tls && tls_pump_why(wire->tls))
		return wire_fail(wire, -EACCES, "%s", tls_pump_why(wire->tls));
	return wire_fail(wire, error > 0 ? -error : -EPROTO, "%s", text ? text : "no reason");
}

int wire_begin(struct wire *wire, int fd, struct tls_pump *tls, const char *export_name,
	       uint64_t now_ns)
{
	struct nbd_handle *nbd = nbd_create();
	bool is_set_up = nbd && nbd_set_debug(nbd, false) == 0 &&
			 nbd_set_tls(nbd, LIBNBD_TLS_DISABLE) == 0 &&
			 nbd_set_export_name(nbd, export_name) == 0 &&
			 nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0;

	memset(wire, 0, sizeof(*wire));
	wire->handle = nbd;
	wire->tls = tls;
	wire->since_ns = now_ns;
	wire->state = WIRE_HANDSHAKE;
	wire->own_fd = -1;
	if (is_set_up && nbd_aio_connect_socket(nbd, fd) == 0)
		return 0;
	wire->own_fd = fd;
	wire_fail_nbd(wire);
	return -ENOMEM;
}

short wire_events(const struct wire *wire, int *fd)
{
	unsigned direction = nbd_aio_get_direction(wire->handle);
	short events = 0;

	*fd = nbd_aio_get_fd(wire->handle);
	if (direction & LIBNBD_AIO_DIRECTION_READ)
		events |= POLLIN;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		events |= POLLOUT;
	return events;
}

/* ---- What the server has --------------------------------------------------- */

static int wire_learn_sizes(struct wire *wire)
{
	struct wire_export *export = &wire->export;
	int64_t length = nbd_get_size(wire->handle);
	int64_t min = nbd_get_block_size(wire->handle, LIBNBD_SIZE_MINIMUM);
	int64_t max = nbd_get_block_size(wire->handle, LIBNBD_SIZE_MAXIMUM);

	if (length < 0 || min < 0 || max < 0)
		return wire_fail_nbd(wire);
	export->length = length;
	if (min == 0) /* it does not say: 512 is what the protocol advises */
		min = length % 512 ? 1 : 512;
	export->block_size = 1;
	while (export->block_size < min && export->block_size < WIRE_MAX_BLOCK)
		export->block_size *= 2;
	if (export->block_size < min)
		return wire_fail(wire, -ENOTSUP,
				 "its blocks have %lld bytes, and at most 65536 are supported",
				 (long long)min);
	if (length % export->block_size)
		return wire_fail(
			wire, -ENOTSUP,
			"its %lld bytes are no multiple of its blocks of %u bytes, so that "
			"the end can't be read",
			(long long)length, export->block_size);
	if (max == 0 || max > WIRE_MAX_REQUEST)
		max = WIRE_MAX_REQUEST;
	export->max_request = max - max % export->block_size;
	if (export->max_request < WIRE_MIN_REQUEST)
		return wire_fail(wire, -ENOTSUP,
				 "it takes requests of %lld bytes at most, and %d are needed",
				 (long long)max, WIRE_MIN_REQUEST);
	return 0;
}

static int wire_learn(struct wire *wire)
{
	int rc = wire_learn_sizes(wire);

	wire->export.is_read_only = nbd_is_read_only(wire->handle) > 0;
	wire->export.is_multi = nbd_can_multi_conn(wire->handle) > 0;
	wire->export.has_extents =
		nbd_can_meta_context(wire->handle, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	return rc;
}

/* ---- Requests -------------------------------------------------------------- */

static int wire_on_over(void *opaque, int *error)
{
	struct ask_piece *piece = opaque;

	piece->is_over = true;
	piece->error = *error;
	/* A server may call half an answer a success. */
	if (*error == 0 && piece->buf && !ask_is_whole(piece))
		piece->error = EIO;
	return 1;
}

static int wire_on_part(void *opaque, const void *bytes, size_t len, uint64_t offset,
			unsigned status, int *error)
{
	if (status == LIBNBD_READ_ERROR || ask_take_part(opaque, offset, len))
		return 0;
	*error = EIO;
	return -1;
}

static int wire_on_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
			   size_t n, int *error)
{
	struct ask_piece *piece = opaque;

	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 && offset == piece->sent.offset)
		ask_take_extents(piece, entries, n, LIBNBD_STATE_ZERO);
	return 0;
}

static int64_t wire_command(struct wire *wire, struct ask_piece *piece)
{
	nbd_completion_callback over = { .callback = wire_on_over, .user_data = piece };
	nbd_chunk_callback part = { .callback = wire_on_part, .user_data = piece };
	nbd_extent_callback extents = { .callback = wire_on_extents, .user_data = piece };

	piece->is_over = false;
	piece->error = 0;
	piece->came.n = 0;
	if (piece->buf)
		return nbd_aio_pread_structured(wire->handle, piece->sent.buf, piece->sent.len,
						piece->sent.offset, part, over, 0);
	return nbd_aio_block_status(wire->handle, piece->sent.len, piece->sent.offset, extents,
				    over, 0);
}

/* The connection is: it failed, or the server has closed it. */
static bool wire_is_over(const struct wire *wire)
{
	return nbd_aio_is_dead(wire->handle) > 0 || nbd_aio_is_closed(wire->handle) > 0;
}

int wire_send(struct wire *wire, struct ask_piece *piece, uint64_t now_ns)
{
	unsigned i = 0;

	if (ask_begin_sent(piece, wire->export.block_size, wire->export.max_request) != 0)
		return -ENOMEM;
	while (wire->slots[i])
		i++;
	wire->slots[i] = piece;
	if (!piece->first_ns)
		piece->first_ns = now_ns;
	if (wire_command(wire, piece) < 0) {
		wire->slots[i] = NULL;
		wire_fail_nbd(wire);
		return wire_is_over(wire) ? -ECONNRESET : -EIO;
	}
	piece->sent_ns = now_ns;
	piece->sent_at = wire->n_answers;
	if (wire->n_in_flight++ == 0)
		wire->since_ns = now_ns;
	return 0;
}

/* Requests may be answered in any order, but a server that has answered all that were before it in
 * the queue, and as many again, has had its turn. */
#define WIRE_PASSED (2 * WIRE_SLOTS)

bool wire_passes_over(const struct wire *wire, uint64_t now_ns, uint64_t patience_ns)
{
	for (unsigned i = 0; i < WIRE_SLOTS; i++) {
		const struct ask_piece *piece = wire->slots[i];

		if (piece && !piece->is_over && now_ns >= piece->sent_ns + patience_ns &&
		    wire->n_answers - piece->sent_at >= WIRE_PASSED)
			return true;
	}
	return false;
}

struct ask_piece *wire_take(struct wire *wire, uint64_t now_ns)
{
	for (unsigned i = 0; i < WIRE_SLOTS; i++) {
		struct ask_piece *piece = wire->slots[i];

		if (piece && piece->is_over) {
			wire->slots[i] = NULL;
			wire->n_in_flight--;
			wire->n_answers++;
			wire->since_ns = now_ns;
			return piece;
		}
	}
	return NULL;
}

struct ask_piece *wire_take_back(struct wire *wire)
{
	for (unsigned i = 0; i < WIRE_SLOTS; i++) {
		struct ask_piece *piece = wire->slots[i];

		if (piece) {
			wire->slots[i] = NULL;
			wire->n_in_flight--;
			return piece;
		}
	}
	return NULL;
}

/* ---- From one state to the next -------------------------------------------- */

/* Asks for the next range of the fingerprint, or is ready. */
static int wire_check_next(struct wire *wire, uint64_t now_ns)
{
	struct ask_piece *check = &wire->check;

	wire->since_ns = now_ns;
	if (!fingerprint_next(&wire->reading, wire->export.max_request, &check->offset, &check->len,
			      &check->buf)) {
		wire->checked_bytes = wire->reading.done;
		wire->export.print = fingerprint_end(&wire->reading);
		wire->state = WIRE_READY;
		return 0;
	}
	check->done = 0;
	/* It lies in whole blocks: there is nothing to be set aside. */
	ask_begin_sent(check, wire->export.block_size, wire->export.max_request);
	return wire_command(wire, check) < 0 ? wire_fail_nbd(wire) : 0;
}

static int wire_after_handshake(struct wire *wire, uint64_t now_ns)
{
	int rc = wire_learn(wire);

	if (rc == 0 &&
	    fingerprint_begin(&wire->reading, wire->export.length, wire->export.block_size) != 0)
		rc = wire_fail(wire, -ENOMEM, "there is no memory");
	if (rc)
		return rc;
	wire->state = WIRE_CHECK;
	return wire_check_next(wire, now_ns);
}

static int wire_after_check(struct wire *wire, uint64_t now_ns)
{
	if (wire->check.error)
		return wire_fail(wire, -EIO, "its bytes from %llu on can't be read: %s",
				 (unsigned long long)wire->check.offset,
				 strerror(wire->check.error));
	fingerprint_did(&wire->reading, wire->check.len);
	return wire_check_next(wire, now_ns);
}

static int wire_look(struct wire *wire, uint64_t now_ns)
{
	int rc = 0;

	if (wire_is_over(wire))
		return wire->why[0] ? -ECONNRESET
				    : wire_fail(wire, -ECONNRESET, "it closed the connection");
	if (wire->state == WIRE_HANDSHAKE && nbd_aio_is_ready(wire->handle) > 0)
		rc = wire_after_handshake(wire, now_ns);
	while (rc == 0 && wire->state == WIRE_CHECK && wire->check.is_over) {
		wire->check.is_over = false;
		rc = wire_after_check(wire, now_ns);
	}
	return rc;
}

int wire_go_on(struct wire *wire, short revents, uint64_t now_ns)
{
	unsigned direction = nbd_aio_get_direction(wire->handle);
	int rc = 0;

	/* An answer first: it may change what there is to be written. */
	if ((direction & LIBNBD_AIO_DIRECTION_READ) && (revents & (POLLIN | POLLHUP | POLLERR)))
		rc = nbd_aio_notify_read(wire->handle);
	else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (revents & (POLLOUT | POLLERR)))
		rc = nbd_aio_notify_write(wire->handle);
	if (rc < 0) {
		int why = wire_fail_nbd(wire);

		/* A command that failed ends by itself; only a dead connection ends the wire. */
		if (nbd_aio_is_dead(wire->handle) > 0 || wire->state != WIRE_READY)
			return why;
		wire->why[0] = '\0';
	}
	return wire_look(wire, now_ns);
}

void wire_end(struct wire *wire)
{
	if (wire->handle && wire->state == WIRE_READY && wire->n_in_flight == 0)
		nbd_aio_disconnect(wire->handle, 0); /* says goodbye, where that needs no waiting */
	if (wire->tls)
		tls_pump_go_on(wire->tls);
	if (wire->handle)
		nbd_close(wire->handle);
	if (wire->own_fd >= 0)
		close(wire->own_fd);
	wire->own_fd = -1;
	free(wire->reading.bytes);
	wire->reading.bytes = NULL;
	tls_pump_free(wire->tls);
	wire->handle = NULL;
	wire->tls = NULL;
	wire->state = WIRE_OFF;
}
