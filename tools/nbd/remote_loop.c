/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The remote's thread. In each turn it takes what was asked, looks after its connections, sends
 * what can be sent, ends what has waited too long, has the dialer connect where one more is wanted,
 * and waits for the descriptors or for the next moment at which something falls due. What was asked
 * ends when the server is lost for too long and there is no connection that could still answer.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/nbd/remote_state.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull
/* Answers that are to come, one at a time, after a server took too long: a link that is only slow
 * has then no more to carry at once than one request. */
#define GENTLE_ANSWERS 64
#define NEVER          UINT64_MAX
/* Connections that one question for extents may cost, and such questions that a server may have. */
#define EXTENTS_TRIES 2
#define EXTENTS_BAD   3

static bool remote_is_closing(struct remote *remote)
{
	bool is_closing;

	pthread_mutex_lock(&remote->shared.lock);
	is_closing = remote->shared.is_closing;
	pthread_mutex_unlock(&remote->shared.lock);
	return is_closing;
}

static bool remote_wants_dial(const struct remote *remote)
{
	unsigned n_live = remote_count(remote, false), n_ready = remote_count(remote, true);

	if (remote->own.dead || remote->own.is_dialing || n_live == REMOTE_MAX_WIRES)
		return false;
	if (n_live == 0)
		return true;
	return n_live == n_ready && n_live < remote->own.n_wanted && !remote->own.n_gentle &&
	       (remote->own.queue[REMOTE_GUESTS].n || remote->own.queue[REMOTE_OTHERS].n);
}

static void remote_dial(struct remote *remote, uint64_t now_ns)
{
	bool is_open = remote_is_open(remote);

	if (!remote_wants_dial(remote) || now_ns < remote->own.next_dial_ns ||
	    (!is_open && remote->own.n_failed))
		return;
	remote->own.is_dialing = true;
	dialer_dial(remote->dialer);
}

/* ---- Requests -------------------------------------------------------------- */

/* The ready wire with the fewest requests, or NULL where all have as many as they may. */
static struct wire *remote_choose_wire(struct remote *remote)
{
	unsigned most = remote->own.n_gentle ? 1 : WIRE_SLOTS;
	struct wire *best = NULL;

	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++) {
		struct wire *wire = &remote->own.wires[i];

		if (wire->state != WIRE_READY)
			continue;
		if (remote->own.n_gentle && wire->n_in_flight)
			return NULL;
		if (wire->n_in_flight < most && (!best || wire->n_in_flight < best->n_in_flight))
			best = wire;
	}
	return best;
}

static struct ask_piece *remote_next(struct remote *remote)
{
	struct ask_piece *piece = ask_queue_take(&remote->own.queue[REMOTE_GUESTS]);

	return piece ? piece : ask_queue_take(&remote->own.queue[REMOTE_OTHERS]);
}

static void remote_send(struct remote *remote, uint64_t now_ns)
{
	struct wire *wire;
	struct ask_piece *piece;

	while ((wire = remote_choose_wire(remote)) && (piece = remote_next(remote))) {
		int rc = piece->ask->rc; /* of another piece: the question has failed already */

		if (rc == 0 && !piece->buf &&
		    (!wire->export.has_extents || remote->own.n_bad_extents >= EXTENTS_BAD))
			rc = -ENOTSUP;
		if (rc == 0) {
			remote_go_inside(remote, wire);
			rc = wire_send(wire, piece, now_ns);
			remote->inside_ns = 0;
		}
		if (rc == -ECONNRESET) {
			remote_again(remote, piece);
			remote_lose(remote, wire, rc);
		} else if (rc) {
			ask_piece_over(piece, rc);
		}
	}
}

/* Takes the answers that came. A server's error is never one that has a meaning of its own for the
 * library. True: the server said that it ends. */
static bool remote_take_answers(struct remote *remote, struct wire *wire, bool is_lost)
{
	uint64_t bytes = 0, n = 0;
	bool ends = false;
	struct ask_piece *piece;

	while ((piece = wire_take(wire, monotonic_ns()))) {
		ends |= piece->error == ESHUTDOWN;
		if (piece->error == ESHUTDOWN || (piece->error && is_lost)) {
			remote_again(remote, piece);
			continue;
		}
		n++;
		if (piece->error == 0 && piece->buf)
			bytes += piece->sent.len;
		if (piece->error || ask_end_sent(piece)) {
			ask_piece_over(piece, piece->error ? -EIO : 0);
			continue;
		}
		piece->first_ns = piece->n_lost = 0;
		remote_put_first(remote, piece);
	}
	if (n == 0)
		return ends;
	record_count(remote->record, bytes, n);
	remote->own.lost_ns = 0;
	remote->own.n_failed = 0;
	remote->own.n_gentle -= n < remote->own.n_gentle ? n : remote->own.n_gentle;
	return ends;
}

/* True: something came of it, and there may be more to be sent. */
static bool remote_serve_wire(struct remote *remote, struct wire *wire, short revents)
{
	enum wire_state before = wire->state;
	unsigned n_before = wire->n_in_flight;
	int rc;

	remote_go_inside(remote, wire);
	rc = wire_go_on(wire, revents, monotonic_ns());
	remote->inside_ns = 0;
	if (remote_take_answers(remote, wire, rc != 0) && rc == 0) {
		rc = -ESHUTDOWN;
		snprintf(wire->why, sizeof(wire->why), "the server is shutting down");
	}
	if (rc)
		remote_lose(remote, wire, rc);
	else if (before != WIRE_READY && wire->state == WIRE_READY)
		remote_ready(remote, wire);
	return wire->state != before || wire->n_in_flight != n_before;
}

/* libnbd goes on while it is called for other things, too: what has come of that. */
static bool remote_serve_all(struct remote *remote)
{
	bool is_any = false;

	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++)
		if (remote->own.wires[i].state != WIRE_OFF)
			is_any |= remote_serve_wire(remote, &remote->own.wires[i], 0);
	return is_any;
}

/* On the dialer's thread. */
void remote_watch(void *opaque)
{
	struct remote *remote = opaque;
	uint64_t since_ns = remote->inside_ns;
	int fd;

	if (!since_ns || monotonic_ns() - since_ns < remote_patience_ns(remote))
		return;
	pthread_mutex_lock(&remote->shared.lock);
	fd = remote->shared.fds[remote->inside_wire];
	if (remote->inside_ns == since_ns && fd >= 0)
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&remote->shared.lock);
}

/* ---- What falls due -------------------------------------------------------- */

static void remote_give_up_slow(struct remote *remote, uint64_t now_ns)
{
	uint64_t patience_ns = remote_patience_ns(remote);

	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++) {
		struct wire *wire = &remote->own.wires[i];
		bool is_owed = wire->state == WIRE_HANDSHAKE || wire->state == WIRE_CHECK ||
			       (wire->state == WIRE_READY && wire->n_in_flight);

		if (!is_owed || (now_ns < wire->since_ns + patience_ns &&
				 !wire_passes_over(wire, now_ns, patience_ns)))
			continue;
		snprintf(wire->why, sizeof(wire->why), "the server did not answer for %llu s",
			 (unsigned long long)(patience_ns / NS_PER_S));
		if (wire->state == WIRE_READY)
			remote->own.n_gentle = GENTLE_ANSWERS;
		remote_lose(remote, wire, -ETIMEDOUT);
	}
}

/* Ends what has waited too long for a server that is away. Returns when the next falls due. */
static uint64_t remote_expire(struct remote *remote, uint64_t now_ns)
{
	uint64_t due_ns = NEVER, lost_ns = remote->own.lost_ns;

	if (!lost_ns || remote_count(remote, true) > 0)
		return NEVER;
	if (!remote->own.was_away && now_ns >= lost_ns + remote->settings->remote_ns) {
		remote->own.was_away = true;
		record_tell(remote->record, BPULL_NBD_AWAY, -EHOSTUNREACH,
			    "the server has been away for too long");
	}
	if (!remote->own.was_away)
		due_ns = lost_ns + remote->settings->remote_ns;
	for (unsigned c = 0; c < REMOTE_CLASSES; c++) {
		struct ask_queue waiting = remote->own.queue[c];
		struct ask_piece *piece;

		if (!waiting.first)
			continue;
		ask_queue_init(&remote->own.queue[c]);
		while ((piece = ask_queue_take(&waiting))) {
			uint64_t end_ns = lost_ns + remote_limit_ns(remote, piece);

			if (now_ns >= end_ns) {
				ask_piece_over(piece, -EHOSTUNREACH);
				continue;
			}
			ask_queue_add(&remote->own.queue[c], piece);
			due_ns = end_ns < due_ns ? end_ns : due_ns;
		}
	}
	return due_ns;
}

/* ---- The turn -------------------------------------------------------------- */

/* False: it is to end. */
static bool remote_take_inbox(struct remote *remote)
{
	bool is_closing;
	uint64_t n;

	pthread_mutex_lock(&remote->shared.lock);
	if (read(remote->wake_fd, &n, sizeof(n)) == sizeof(n))
		remote->shared.is_woken = false;
	for (unsigned c = 0; c < REMOTE_CLASSES; c++)
		ask_queue_join(&remote->own.queue[c], &remote->shared.inbox[c]);
	is_closing = remote->shared.is_closing;
	pthread_mutex_unlock(&remote->shared.lock);
	return !is_closing;
}

static uint64_t remote_next_due(struct remote *remote, uint64_t due_ns)
{
	uint64_t patience_ns = remote_patience_ns(remote);

	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++) {
		struct wire *wire = &remote->own.wires[i];

		if (wire->state == WIRE_OFF || (wire->state == WIRE_READY && !wire->n_in_flight))
			continue;
		if (wire->since_ns + patience_ns < due_ns)
			due_ns = wire->since_ns + patience_ns;
		if (wire->tls && tls_pump_is_due(wire->tls))
			due_ns = 0;
	}
	if (remote_wants_dial(remote) && (remote_is_open(remote) || !remote->own.n_failed) &&
	    remote->own.next_dial_ns < due_ns)
		due_ns = remote->own.next_dial_ns;
	return due_ns;
}

/* Of each wire libnbd's descriptor and two of its TLS; and the two eventfds. */
#define WIRE_POLLS (1 + TLS_PUMP_FDS)

static void remote_wait_and_serve(struct remote *remote, uint64_t due_ns)
{
	struct pollfd polls[REMOTE_MAX_WIRES * WIRE_POLLS + 2];
	uint64_t now_ns = monotonic_ns();
	int ms = -1;

	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++) {
		struct wire *wire = &remote->own.wires[i];
		struct pollfd *at = &polls[i * WIRE_POLLS];

		for (unsigned j = 0; j < WIRE_POLLS; j++)
			at[j] = (struct pollfd){ .fd = -1 };
		if (wire->state == WIRE_OFF)
			continue;
		at[0].events = wire_events(wire, &at[0].fd);
		if (wire->tls)
			tls_pump_events(wire->tls, &at[1]);
	}
	polls[REMOTE_MAX_WIRES * WIRE_POLLS] =
		(struct pollfd){ .fd = remote->wake_fd, .events = POLLIN };
	polls[REMOTE_MAX_WIRES * WIRE_POLLS + 1] =
		(struct pollfd){ .fd = remote->gives_up ? -1 : remote->settings->give_up_fd,
				 .events = POLLIN };
	if (due_ns != NEVER)
		ms = due_ns <= now_ns ? 0 : (int)((due_ns - now_ns) / NS_PER_MS % 3600000 + 1);
	/* When it is closing the connections were shut down, which is no loss of a server. */
	if (poll(polls, REMOTE_MAX_WIRES * WIRE_POLLS + 2, ms) < 0 || remote_is_closing(remote))
		return;
	if (polls[REMOTE_MAX_WIRES * WIRE_POLLS + 1].revents)
		remote->gives_up = true;
	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++) {
		struct wire *wire = &remote->own.wires[i];

		if (wire->tls)
			tls_pump_go_on(wire->tls);
		if (wire->state != WIRE_OFF && polls[i * WIRE_POLLS].revents)
			remote_serve_wire(remote, wire, polls[i * WIRE_POLLS].revents);
	}
}

static void remote_turn(struct remote *remote)
{
	uint64_t now_ns = monotonic_ns(), due_ns;

	remote_take_dialed(remote);
	remote_give_up_slow(remote, now_ns);
	if (remote->own.dead)
		remote_over_all(remote, remote->own.dead);
	do
		remote_send(remote, now_ns);
	while (remote_serve_all(remote));
	due_ns = remote_expire(remote, monotonic_ns());
	remote_dial(remote, monotonic_ns());
	remote_wait_and_serve(remote, remote_next_due(remote, due_ns));
}

void *remote_main(void *opaque)
{
	struct remote *remote = opaque;

	while (remote_take_inbox(remote))
		remote_turn(remote);
	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++)
		if (remote->own.wires[i].state != WIRE_OFF)
			remote_end_wire(remote, &remote->own.wires[i]);
	remote_over_all(remote, -ECANCELED);
	return NULL;
}
