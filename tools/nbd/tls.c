/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * First NBD up to STARTTLS, then the handshake, both waited for on the dialer's thread. Afterwards
 * bytes are moved between the server and libnbd's end of a pair of sockets, on the remote's
 * thread, without waiting. libnbd gets the server's greeting again, as if it were the first to see
 * it; its answer to that is swallowed, since the server has had one.
 */
#include "tools/nbd/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/nbd/dial.h"
#include "tools/nbd/tls_keys.h"

#define TLS_WHY_CAP 256
/* Moved at once, each way. */
#define TLS_BUF_LEN (64 << 10)
/* Buffers moved in one call: the connections of a source share a thread. */
#define TLS_TURNS         32
#define TLS_CERT_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define TLS_PSK_PRIORITY  TLS_CERT_PRIORITY ":-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK"

/* The protocol's words, as they are sent. */
#define TLS_GREETING_LEN 18 /* "NBDMAGIC", "IHAVEOPT", 16 bits of flags */
#define TLS_FLAGS_LEN    4  /* the client's flags */
#define TLS_REPLY_LEN    20

struct tls_flow {
	uint8_t bytes[TLS_BUF_LEN];
	size_t at, end; /* what waits to be sent on */
};

struct tls_pump {
	gnutls_session_t session;
	int fd;       /* of the server */
	int pair_end; /* the other end is libnbd's */
	struct tls_flow in, out;
	size_t swallow; /* bytes of libnbd's that the server has had already */
	bool out_waits; /* a record is half sent */
	bool is_due;    /* there may be more to move */
	bool is_over;
	char why[TLS_WHY_CAP];
};

/* ---- Up to TLS ------------------------------------------------------------- */

struct tls_begin {
	int fd, cancel_fd;
	uint64_t deadline_ns;
	char *why;
};

__attribute__((format(printf, 3, 4))) static int tls_fail(const struct tls_begin *begin, int rc,
							  const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(begin->why, TLS_WHY_CAP, format, args);
	va_end(args);
	for (char *c = begin->why; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return rc;
}

static int tls_wait(const struct tls_begin *begin, short events)
{
	int rc = dial_wait(begin->fd, events, begin->cancel_fd, begin->deadline_ns);

	return rc ? tls_fail(begin, rc, "the server did not answer before TLS: %s", strerror(-rc))
		  : 0;
}

static int tls_receive(const struct tls_begin *begin, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		int rc = tls_wait(begin, POLLIN);
		ssize_t n;

		if (rc)
			return rc;
		n = recv(begin->fd, (uint8_t *)buf + done, len - done, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return tls_fail(begin, -ECONNRESET,
					"the server closed the connection before TLS");
		done += n > 0 ? n : 0;
	}
	return 0;
}

static int tls_transmit(const struct tls_begin *begin, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		int rc = tls_wait(begin, POLLOUT);
		ssize_t n;

		if (rc)
			return rc;
		n = send(begin->fd, (const uint8_t *)buf + done, len - done,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return tls_fail(begin, -ECONNRESET,
					"the server closed the connection before TLS");
		done += n > 0 ? n : 0;
	}
	return 0;
}

static int tls_ask(const struct tls_begin *begin, uint8_t greeting[TLS_GREETING_LEN])
{
	static const uint8_t reply_magic[8] = { 0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9 };
	/* Flags; then "IHAVEOPT", the option 5 (STARTTLS), no bytes of its own. */
	uint8_t hello[TLS_FLAGS_LEN + 16] = { 0,   0,   0, 0, 'I', 'H', 'A', 'V', 'E', 'O',
					      'P', 'T', 0, 0, 0,   5,   0,   0,   0,   0 };
	uint8_t reply[TLS_REPLY_LEN];
	int rc = tls_receive(begin, greeting, TLS_GREETING_LEN);

	if (rc)
		return rc;
	if (memcmp(greeting, "NBDMAGICIHAVEOPT", 16) != 0)
		return tls_fail(begin, -EPROTO, "the server speaks no NBD that has TLS");
	hello[3] = greeting[17] & 3; /* as libnbd answers: newstyle, and no zeroes */
	rc = tls_transmit(begin, hello, sizeof(hello));
	if (rc == 0)
		rc = tls_receive(begin, reply, sizeof(reply));
	if (rc)
		return rc;
	if (memcmp(reply, reply_magic, sizeof(reply_magic)) != 0 || reply[11] != 5)
		return tls_fail(begin, -EPROTO, "the server's answer about TLS makes no sense");
	if (memcmp(reply + 12, "\0\0\0\1\0\0\0\0", 8) != 0)
		return tls_fail(begin, -EACCES, "the server has no TLS for us");
	return 0;
}

/* ---- The handshake --------------------------------------------------------- */

static bool tls_is_address(const char *host)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static int tls_set_up(gnutls_session_t session, const struct tls_keys *keys, const char *host,
		      int fd)
{
	int rc = gnutls_priority_set_direct(session,
					    keys->psk ? TLS_PSK_PRIORITY : TLS_CERT_PRIORITY, NULL);

	if (rc >= 0 && keys->psk)
		rc = gnutls_credentials_set(session, GNUTLS_CRD_PSK, keys->psk);
	else if (rc >= 0)
		rc = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, keys->certificates);
	if (rc >= 0 && host && !tls_is_address(host))
		rc = gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, strlen(host));
	/* Of a unix socket there is no name to compare: the authority decides. */
	if (rc >= 0 && !keys->psk)
		gnutls_session_set_verify_cert(session, host, 0);
	gnutls_transport_set_int(session, fd);
	return rc;
}

static int tls_fail_handshake(const struct tls_begin *begin, gnutls_session_t session, int rc)
{
	gnutls_datum_t text = { 0 };

	if (rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
	    gnutls_certificate_verification_status_print(
		    gnutls_session_get_verify_cert_status(session), GNUTLS_CRT_X509, &text, 0) == 0)
		tls_fail(begin, 0, "the server's certificate is refused: %s", (char *)text.data);
	else
		tls_fail(begin, 0, "TLS failed: %s", gnutls_strerror(rc));
	gnutls_free(text.data);
	return -EACCES;
}

static int tls_shake_hands(const struct tls_begin *begin, gnutls_session_t session, bool is_psk)
{
	int rc;

	while ((rc = gnutls_handshake(session)) < 0) {
		if (gnutls_error_is_fatal(rc))
			return tls_fail_handshake(begin, session, rc);
		rc = tls_wait(begin, gnutls_record_get_direction(session) ? POLLOUT : POLLIN);
		if (rc)
			return rc;
	}
	if (is_psk && gnutls_auth_client_get_type(session) != GNUTLS_CRD_PSK)
		return tls_fail(begin, -EACCES, "the server did not use the shared key");
	return 0;
}

int tls_pump_begin(const struct tls_keys *keys, const char *host, int fd, int pair_end,
		   int cancel_fd, uint64_t deadline_ns, struct tls_pump **pump, char why[256])
{
	struct tls_begin begin = { fd, cancel_fd, deadline_ns, why };
	struct tls_pump *new = calloc(1, sizeof(*new));
	int rc;

	if (!new)
		return tls_fail(&begin, -ENOMEM, "there is no memory");
	new->fd = fd;
	new->pair_end = pair_end;
	/* libnbd gets the greeting, and answers it; that answer the server has had. */
	new->in.end = TLS_GREETING_LEN;
	new->swallow = TLS_FLAGS_LEN;
	new->is_due = true;
	rc = tls_ask(&begin, new->in.bytes);
	if (rc == 0 &&
	    gnutls_init(&new->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0)
		rc = tls_fail(&begin, -ENOMEM, "there is no memory");
	if (rc == 0 && tls_set_up(new->session, keys, host, fd) < 0)
		rc = tls_fail(&begin, -EINVAL, "TLS can't be set up with these keys");
	if (rc == 0)
		rc = tls_shake_hands(&begin, new->session, keys->psk != NULL);
	if (rc == 0) {
		*pump = new;
		return 0;
	}
	if (new->session)
		gnutls_deinit(new->session);
	free(new);
	return rc;
}

/* ---- Afterwards ------------------------------------------------------------ */

void tls_pump_events(const struct tls_pump *pump, struct pollfd polls[TLS_PUMP_FDS])
{
	polls[0] = (struct pollfd){ .fd = pump->is_over ? -1 : pump->fd };
	polls[1] = (struct pollfd){ .fd = pump->is_over ? -1 : pump->pair_end };
	polls[0].events =
		(pump->in.at == pump->in.end ? POLLIN : 0) | (pump->out_waits ? POLLOUT : 0);
	polls[1].events = (pump->out.at == pump->out.end ? POLLIN : 0) |
			  (pump->in.at < pump->in.end ? POLLOUT : 0);
}

bool tls_pump_is_due(const struct tls_pump *pump)
{
	return pump->is_due && !pump->is_over;
}

const char *tls_pump_why(const struct tls_pump *pump)
{
	return pump->is_over ? pump->why : NULL;
}

static void tls_pump_end(struct tls_pump *pump, const char *why, int error)
{
	pump->is_over = true;
	snprintf(pump->why, sizeof(pump->why), "%s%s%s", why, error < 0 ? ": " : "",
		 error < 0 ? gnutls_strerror(error) : "");
	shutdown(pump->pair_end, SHUT_RDWR);
	shutdown(pump->fd, SHUT_RDWR);
}

/* From the server to libnbd. True: bytes were moved. */
static bool tls_pump_in(struct tls_pump *pump)
{
	struct tls_flow *in = &pump->in;
	ssize_t n;

	if (in->at == in->end) {
		n = gnutls_record_recv(pump->session, in->bytes, sizeof(in->bytes));
		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
			return false;
		if (n <= 0) {
			tls_pump_end(pump, "the server ended TLS", n);
			return false;
		}
		in->at = 0;
		in->end = n;
	}
	n = send(pump->pair_end, in->bytes + in->at, in->end - in->at, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		tls_pump_end(pump, "the connection was ended", 0);
	in->at += n > 0 ? n : 0;
	return n > 0;
}

/* From libnbd to the server. True: bytes were moved. */
static bool tls_pump_out(struct tls_pump *pump)
{
	struct tls_flow *out = &pump->out;
	ssize_t n;

	if (out->at == out->end) {
		n = recv(pump->pair_end, out->bytes, sizeof(out->bytes), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			tls_pump_end(pump, "the connection was ended", 0);
		if (n <= 0)
			return false;
		out->at = (size_t)n < pump->swallow ? (size_t)n : pump->swallow;
		out->end = n;
		pump->swallow -= out->at;
		if (out->at == out->end)
			return true;
	}
	n = gnutls_record_send(pump->session, out->bytes + out->at, out->end - out->at);
	pump->out_waits = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED;
	if (n < 0 && !pump->out_waits)
		tls_pump_end(pump, "TLS failed", n);
	out->at += n > 0 ? n : 0;
	return n > 0;
}

void tls_pump_go_on(struct tls_pump *pump)
{
	unsigned n = 0;
	bool moved = true;

	for (; moved && n < TLS_TURNS && !pump->is_over; n++) {
		moved = tls_pump_out(pump);
		if (!pump->is_over)
			moved |= tls_pump_in(pump);
	}
	pump->is_due = moved && !pump->is_over;
}

void tls_pump_fds(const struct tls_pump *pump, int fds[TLS_PUMP_FDS])
{
	fds[0] = pump->fd;
	fds[1] = pump->pair_end;
}

void tls_pump_free(struct tls_pump *pump)
{
	if (!pump)
		return;
	gnutls_deinit(pump->session);
	close(pump->fd);
	close(pump->pair_end);
	explicit_bzero(pump, sizeof(*pump));
	free(pump);
}
