/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Connections of a remote, gained and lost. own.lost_ns is set when the last connection goes, and
 * only an answer to a question takes it back: a server that lets us in and never answers is as lost
 * as one that is away.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/nbd/remote_state.h"

#define NS_PER_MS      1000000ull
#define BACKOFF_MS     100
#define BACKOFF_TIMES  6 /* doubled so often: 100 ms to 5 s */
#define BACKOFF_MAX_MS 5000
/* What a connection may take to answer when nothing waits any more. */
#define LAST_PATIENCE_NS 2000000000ull
/* Connections that one question for extents may cost. */
#define EXTENTS_TRIES 2

static uint64_t remote_draw(struct remote *remote)
{
	uint64_t *x = &remote->own.random;

	if (*x == 0 && (getrandom(x, sizeof(*x), GRND_NONBLOCK) != sizeof(*x) || *x == 0))
		*x = monotonic_ns() | 1;
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* Half of it to all of it, so that the clients of a server that comes back do not come at once. */
static uint64_t remote_backoff_ns(struct remote *remote)
{
	unsigned n = remote->own.n_failed ? remote->own.n_failed - 1 : 0;
	uint64_t ms = BACKOFF_MS << (n < BACKOFF_TIMES ? n : BACKOFF_TIMES);

	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	return ms * NS_PER_MS / 2 + remote_draw(remote) % (ms * NS_PER_MS / 2);
}

unsigned remote_count(const struct remote *remote, bool ready_only)
{
	unsigned n = 0;

	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++)
		n += ready_only ? remote->own.wires[i].state == WIRE_READY
				: remote->own.wires[i].state != WIRE_OFF;
	return n;
}

uint64_t remote_patience_ns(const struct remote *remote)
{
	const struct remote_settings *settings = remote->settings;

	if (remote->gives_up && settings->request_ns > LAST_PATIENCE_NS)
		return LAST_PATIENCE_NS;
	return settings->guest_ns < settings->request_ns ? settings->guest_ns
							 : settings->request_ns;
}

/* ---- Ends of pieces -------------------------------------------------------- */

void remote_over_all(struct remote *remote, int rc)
{
	struct ask_piece *piece;

	for (unsigned c = 0; c < REMOTE_CLASSES; c++)
		while ((piece = ask_queue_take(&remote->own.queue[c])))
			ask_piece_over(piece, rc);
}

uint64_t remote_limit_ns(const struct remote *remote, const struct ask_piece *piece)
{
	if (remote->gives_up)
		return 0;
	switch (piece->ask->asker) {
	case BPULL_SOURCE_GUEST: return remote->settings->guest_ns;
	case BPULL_SOURCE_CALL: return remote->settings->open_ns;
	case BPULL_SOURCE_JOB:
	default: return remote->settings->remote_ns;
	}
}

void remote_put_first(struct remote *remote, struct ask_piece *piece)
{
	bool is_guests = piece->ask->asker == BPULL_SOURCE_GUEST;

	ask_queue_add_first(&remote->own.queue[is_guests ? REMOTE_GUESTS : REMOTE_OTHERS], piece);
}

/* Sent in vain: it goes to the front. What extents there are is good to know and no more: a server
 * that goes away over that question, again and again, is not asked it any more. */
void remote_again(struct remote *remote, struct ask_piece *piece)
{
	piece->n_lost++;
	if (!piece->buf && piece->n_lost == EXTENTS_TRIES) {
		remote->own.n_bad_extents++;
		ask_piece_over(piece, -EIO);
		return;
	}
	/* The server is there and answers other questions, but not this one. */
	if (monotonic_ns() >= piece->first_ns + remote_limit_ns(remote, piece)) {
		ask_piece_over(piece, -EHOSTUNREACH);
		return;
	}
	remote_put_first(remote, piece);
}

/* ---- Losing connections ---------------------------------------------------- */

/* -1, NULL: it has none any more. */
static void remote_set_fd(struct remote *remote, const struct wire *wire, int fd,
			  const struct tls_pump *tls)
{
	int *tls_fds = remote->shared.tls_fds[wire - remote->own.wires];

	pthread_mutex_lock(&remote->shared.lock);
	remote->shared.fds[wire - remote->own.wires] = fd;
	tls_fds[0] = tls_fds[1] = -1;
	if (tls)
		tls_pump_fds(tls, tls_fds);
	pthread_mutex_unlock(&remote->shared.lock);
}

void remote_end_wire(struct remote *remote, struct wire *wire)
{
	struct ask_piece *piece;

	remote_set_fd(remote, wire, -1, NULL);
	wire_end(wire);
	while ((piece = wire_take_back(wire)))
		remote_again(remote, piece);
}

static void remote_open_failed(struct remote *remote, int rc, const char *why)
{
	pthread_mutex_lock(&remote->shared.lock);
	if (remote->shared.opened == REMOTE_OPENING) {
		remote->shared.opened = REMOTE_FAILED;
		remote->shared.rc = rc;
		snprintf(remote->shared.why, sizeof(remote->shared.why), "%s", why);
		pthread_cond_signal(&remote->shared.opened_changed);
	}
	pthread_mutex_unlock(&remote->shared.lock);
}

bool remote_is_open(struct remote *remote)
{
	bool is_open;

	pthread_mutex_lock(&remote->shared.lock);
	is_open = remote->shared.opened == REMOTE_OPEN;
	pthread_mutex_unlock(&remote->shared.lock);
	return is_open;
}

/* An attempt to connect failed, or a connection was lost (was_ready); since_ns: no answer since
 * then. */
static void remote_failed(struct remote *remote, int rc, const char *why, uint64_t since_ns,
			  bool was_ready)
{
	unsigned n_ready = remote_count(remote, true);

	remote->own.n_failed++;
	remote->own.next_dial_ns = monotonic_ns() + remote_backoff_ns(remote);
	record_connections(remote->record, n_ready, false);
	if (!remote_is_open(remote)) {
		remote_open_failed(remote, rc, why);
		return;
	}
	if (n_ready > 0) {
		if (!was_ready)
			remote->own.n_wanted = n_ready; /* it may allow no more than that */
		return;
	}
	if (!remote->own.lost_ns)
		remote->own.lost_ns = since_ns;
	if (!remote->own.was_away)
		record_tell(remote->record, BPULL_NBD_RECONNECTING, rc, why);
}

void remote_lose(struct remote *remote, struct wire *wire, int rc)
{
	uint64_t since_ns = rc == -ETIMEDOUT ? wire->since_ns : monotonic_ns();
	bool was_ready = wire->state == WIRE_READY;
	char why[sizeof(wire->why)];

	memcpy(why, wire->why, sizeof(why));
	remote_end_wire(remote, wire);
	remote_failed(remote, rc, why, since_ns, was_ready);
}

/* Another disk came back. */
static void remote_die(struct remote *remote, const char *why)
{
	remote->own.dead = -ESTALE;
	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++)
		if (remote->own.wires[i].state != WIRE_OFF)
			remote_end_wire(remote, &remote->own.wires[i]);
	remote_over_all(remote, -ESTALE);
	record_connections(remote->record, 0, false);
	record_tell(remote->record, BPULL_NBD_GONE, -ESTALE, why);
}

void remote_go_inside(struct remote *remote, const struct wire *wire)
{
	remote->inside_wire = wire - remote->own.wires;
	remote->inside_ns = monotonic_ns();
}

/* ---- New connections ------------------------------------------------------- */

/* NULL: it is the disk that was opened. Of the server's flags one speaks of the disk: where clients
 * may write now and could not, a change would leave no trace. Which requests it takes, how much at
 * once and in which blocks, may be another matter than it was: each connection is asked as it
 * likes, and a server that was updated is not another one. */
static const char *remote_differs(const struct wire_export *was, const struct wire_export *is)
{
	if (is->length != was->length)
		return "the server came back with a disk of another length";
	if (was->is_read_only && !is->is_read_only)
		return "the server came back with another disk: clients may write to it, and it "
		       "was read-only";
	if (is->print.low != was->print.low || is->print.high != was->print.high)
		return "the server came back with another disk: its first MiB or last 64 KiB "
		       "differ";
	return NULL;
}

static void remote_opened(struct remote *remote, const struct wire *wire)
{
	remote->export = wire->export;
	remote->max_request = wire->export.max_request;
	record_length(remote->record, wire->export.length);
	record_connections(remote->record, 1, false);
	record_tell(remote->record, BPULL_NBD_CONNECTED, 0, NULL);
	pthread_mutex_lock(&remote->shared.lock);
	remote->shared.opened = REMOTE_OPEN;
	pthread_cond_signal(&remote->shared.opened_changed);
	pthread_mutex_unlock(&remote->shared.lock);
}

/* The wire is ready: is it the same disk still. */
void remote_ready(struct remote *remote, struct wire *wire)
{
	const char *differs;

	record_count(remote->record, wire->checked_bytes, 0);
	if (!remote_is_open(remote)) {
		remote->own.n_wanted = wire->export.is_multi ? remote->settings->n_wires : 1;
		remote_opened(remote, wire);
		return;
	}
	differs = remote_differs(&remote->export, &wire->export);
	if (differs) {
		remote_die(remote, differs);
		return;
	}
	remote->max_request = wire->export.max_request;
	record_connections(remote->record, remote_count(remote, true), remote->own.lost_ns != 0);
	if (remote->own.lost_ns) {
		remote->own.n_wanted = wire->export.is_multi ? remote->settings->n_wires : 1;
		remote->own.was_away = false;
		record_tell(remote->record, BPULL_NBD_CONNECTED, 0, NULL);
	}
}

void remote_take_dialed(struct remote *remote)
{
	struct dialer_result result;
	struct wire *wire = remote->own.wires;
	int rc;

	if (!remote->own.is_dialing || !dialer_take(remote->dialer, &result))
		return;
	remote->own.is_dialing = false;
	if (result.rc) {
		remote_failed(remote, result.rc, result.why, monotonic_ns(), false);
		return;
	}
	if (remote->own.dead) {
		close(result.fd);
		tls_pump_free(result.tls);
		return;
	}
	while (wire->state != WIRE_OFF)
		wire++;
	remote_set_fd(remote, wire, result.fd, result.tls);
	remote_go_inside(remote, wire);
	rc = wire_begin(wire, result.fd, result.tls, remote->export_name, monotonic_ns());
	remote->inside_ns = 0;
	if (rc)
		remote_lose(remote, wire, rc);
}
