/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What remote.c (any thread) and remote_loop.c (the remote's own) share. */
#ifndef TOOLS_NBD_REMOTE_STATE_H
#define TOOLS_NBD_REMOTE_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/nbd/ask.h"
#include "tools/nbd/dialer.h"
#include "tools/nbd/remote.h"
#include "tools/nbd/wire.h"

/* Guests' questions go first. */
enum remote_class {
	REMOTE_GUESTS = 0,
	REMOTE_OTHERS,
	REMOTE_CLASSES
};

enum remote_opened {
	REMOTE_OPENING = 0,
	REMOTE_OPEN,
	REMOTE_FAILED
};

struct remote {
	const struct remote_settings *settings;
	struct record *record;
	char *identity, *export_name;
	void (*closed)(void *opaque);
	void *opaque;
	struct remotes *remotes;
	struct remote *next; /* under remotes->lock, and n_users */
	unsigned n_users;    /* sources that are it and are not closed; 0: it is not in the list */
	bool is_operators;
	bool is_left; /* in a child of fork() */
	pthread_t thread;
	struct dialer *dialer;
	int wake_fd; /* an eventfd: there is something in the inbox, or a result of the dialer */

	/* The first server's word; written before opened is OPEN, read by any thread since. */
	struct wire_export export;
	/* The last server's: new questions are cut by it. */
	atomic_uint max_request;

	/* Between the threads. */
	struct {
		pthread_mutex_t lock;
		pthread_cond_t opened_changed;
		enum remote_opened opened;
		int rc; /* why it FAILED */
		char why[DIAL_WHY_CAP];
		/* As many as the library asks, which it does within its own limits. */
		struct ask_queue inbox[REMOTE_CLASSES];
		bool is_woken; /* wake_fd was written to and not read since */
		bool is_closing;
		/* Descriptors of the wires, or -1: libnbd's own, which are shut down where the
		 * thread is held up, and those of its TLS. */
		int fds[REMOTE_MAX_WIRES], tls_fds[REMOTE_MAX_WIRES][TLS_PUMP_FDS];
	} shared;
	/* Nothing waits for the server any more: written by the thread. */
	atomic_bool gives_up;
	/* Since when libnbd works on a wire, ns; 0: it does not. */
	_Atomic uint64_t inside_ns;
	atomic_uint inside_wire;

	/* The thread's own. */
	struct {
		struct wire wires[REMOTE_MAX_WIRES];
		struct ask_queue queue[REMOTE_CLASSES];
		bool is_dialing;
		unsigned n_wanted;      /* wires at most, for now */
		unsigned n_failed;      /* wires in a row without an answer to a question */
		unsigned n_gentle;      /* answers to come before more than one is asked at once */
		unsigned n_bad_extents; /* questions for them that cost connections */
		uint64_t next_dial_ns;
		uint64_t lost_ns; /* since when there is no answer; 0: all is well */
		bool was_away;    /* AWAY was told */
		int dead;         /* 0, or -ESTALE: for good */
		uint64_t random;
	} own;
};

/* ---- remote_wires.c, on the remote's thread ------------------------------- */

/* Connections: all, or those that take requests. */
unsigned remote_count(const struct remote *remote, bool ready_only);
/* For how long a connection may owe an answer, ns. */
uint64_t remote_patience_ns(const struct remote *remote);
/* How long a piece may wait in all, ns. */
uint64_t remote_limit_ns(const struct remote *remote, const struct ask_piece *piece);
bool remote_is_open(struct remote *remote);
/* Ends all pieces that are in a queue. */
void remote_over_all(struct remote *remote, int rc);
/* Has a piece asked again that was sent in vain. */
void remote_again(struct remote *remote, struct ask_piece *piece);
/* Puts a piece in front of those that wait. */
void remote_put_first(struct remote *remote, struct ask_piece *piece);
/* Ends a connection: as it is closed; as it was lost (rc, wire->why). */
void remote_end_wire(struct remote *remote, struct wire *wire);
void remote_lose(struct remote *remote, struct wire *wire, int rc);
/* The wire has become ready: the disk is looked at. */
void remote_ready(struct remote *remote, struct wire *wire);
/* libnbd is called for the wire next: until inside_ns is 0 again, remote_watch() looks how long
 * that takes. */
void remote_go_inside(struct remote *remote, const struct wire *wire);
/* Takes what the dialer has, if it has. */
void remote_take_dialed(struct remote *remote);

/* ---- remote_loop.c --------------------------------------------------------- */

/* Runs until is_closing; then all is ended with -ECANCELED. */
void *remote_main(void *remote);
/* On the dialer's thread: ends a connection whose bytes libnbd reads without an end. */
void remote_watch(void *remote);

#endif
