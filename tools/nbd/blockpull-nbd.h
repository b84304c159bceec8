/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libblockpull-nbd: bases behind a network, for programs that embed libblockpull. It finds the base
 * that a name of NBD leads to (bpull_disk_options.find_base), where the program's user allows that,
 * and reads it with libnbd.
 *
 *     bpull_nbd_open(&nbd_options, &nbd, &error);
 *     disk_options.find_base = bpull_nbd_find_base;
 *     disk_options.find_opaque = nbd;
 *     bpull_disk_open(engine, path, &disk_options, &disk, &error);
 *     ...
 *     bpull_disk_close(disk);
 *     bpull_nbd_close(nbd);
 *
 * NAMES. nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, the same with nbds for TLS, what
 * QEMU wrote before (nbd:HOST:PORT:exportname=EXPORT), and json: of a raw, qcow2 or QED image over
 * one of them. All that is not allowed by a pattern or mapped is refused. Keys, certificates and
 * users are the options' only, never a name's.
 *
 * A SERVER THAT GOES AWAY is connected to again, after 0.1 s and then ever later, up to 5 s. What
 * was asked is asked again then. While it is away, jobs, guests and calls wait as long as the
 * options say, and get -EHOSTUNREACH afterwards; what is asked once that time is over gets it at
 * once. When it is back, its length and a fingerprint of its content must be what they were, and
 * one that was read-only must be so: else the source is gone for good, and all is answered with
 * -ESTALE. What requests it takes, and its limits on them, may be others, and are kept from then
 * on. A request without an answer for request_timeout_s (or guest_timeout_s, where that is less)
 * ends its connection.
 *
 * THREADS. Each source has two threads, which block all signals. Every function may be called from
 * any thread; bpull_nbd_close() is the last one. All structs begin with their size, as those of
 * blockpull.h do, and errors are as those are.
 *
 * FORK. A child of fork() may call bpull_engine_close() and then bpull_nbd_close(), which close the
 * descriptors that it has inherited and do nothing that the parent could see. Of a connection to a
 * server that has not taken it yet it may keep one or two. It calls nothing else.
 */
#ifndef BLOCKPULL_NBD_H
#define BLOCKPULL_NBD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BPULL_NBD_API __attribute__((visibility("default")))
#else
#define BPULL_NBD_API
#endif

struct bpull_base;
struct bpull_error;
struct bpull_open_request;

struct bpull_nbd;

struct bpull_nbd_options {
	size_t size; /* sizeof(struct bpull_nbd_options) */
	/* n_allow patterns of places that names in images may lead to: "nbd:HOST[:PORT]",
	 * "nbd:10.0.0.0/8[:PORT]", "nbd+unix:PATH" (a directory and all below it, or a socket);
	 * "nbds:" and "nbds+unix:" allow those with TLS only. Copied. */
	const char *const *allow;
	size_t n_allow;
	/* n_map pairs "NAME=TARGET": what is opened for the name NAME of an image, a place in one
	 * of the forms above or a file. It is the user's word: no pattern is asked. A = in NAME is
	 * written ==. Copied. */
	const char *const *map;
	size_t n_map;
	/* An absolute directory from which relative names of sockets and files lead; copied. NULL:
	 * they are refused. */
	const char *relative_dir;
	/* How long a call (an open, a map), a job and a guest's request wait for a server that is
	 * away, s; 0: 30, 300 and 30. */
	uint32_t open_timeout_s, remote_timeout_s, guest_timeout_s;
	uint32_t request_timeout_s; /* see above; 0: 30 */
	uint32_t connections;       /* to one server, 1 to 8; 0: 8. One, where it allows no more */
	/* For TLS, read when this is opened: a directory with ca-cert.pem, and client-cert.pem and
	 * client-key.pem where the server asks for them. NULL: the system's authorities. */
	const char *tls_certificates;
	/* Keys shared with the server instead, lines of USER:HEX; NULL: none. */
	const char *tls_psk_file;
	const char *tls_user; /* the user of that file whose line is used: needed with it, and only
				 * with it */
	/* Called when a source's state changes (its index, for bpull_nbd_get_source()), on a thread
	 * of the source: it must not wait, nor call the library or close. NULL: none. */
	void (*changed)(void *opaque, unsigned index);
	void *opaque; /* -EINVAL without `changed` */
};

/* Opens what finds sources and keeps them. It reads files of keys, and connects to nothing yet.
 * Errors: -EINVAL a pattern, a pair or an option makes no sense; -ENOENT / -EACCES or another code
 * of open(2): a file of keys can't be read; -ENOTSUP TLS is not built in; -ENOMEM no memory. */
BPULL_NBD_API int bpull_nbd_open(const struct bpull_nbd_options *options, struct bpull_nbd **nbd,
				 struct bpull_error *error);
/* Closes what bpull_nbd_open() opened, after the disks that read from its sources: while one of
 * these is still open, the source stays until that is closed. The broker ends with the last source.
 * NULL is allowed. */
BPULL_NBD_API void bpull_nbd_close(struct bpull_nbd *nbd);

/* Starts a child process that looks up names and connects, for a process that is about to give up
 * making sockets. The child connects only to places that the options allow and that
 * bpull_nbd_find_base() has found before bpull_nbd_seal(). It ends by itself when `nbd` and its
 * sources are closed or this process ends, keeps no descriptor of this process, and can't be waited
 * for. Call this before the process starts other threads: it forks, without exec. Errors: -EBUSY
 * there is a broker already, or sources are open; -EAGAIN / -ENOMEM / -EMFILE no room for a
 * process. */
BPULL_NBD_API int bpull_nbd_start_broker(struct bpull_nbd *nbd, struct bpull_error *error);
/* Lets no source be opened from here on; those that are open stay. It is for the moment in which a
 * sandbox closes. */
BPULL_NBD_API void bpull_nbd_seal(struct bpull_nbd *nbd);

/* Lets nothing wait for a server that is away from here on: what waits now, and what is asked
 * later, soon gets -EHOSTUNREACH, and a connection that owes an answer ends after 2 s. It is for a
 * program that was told to end: aborting a job waits for what the job has asked. Does not wait. */
BPULL_NBD_API void bpull_nbd_give_up(struct bpull_nbd *nbd);

/* Finds the source that a name of NBD leads to: the callback for bpull_disk_options.find_base, with
 * the struct bpull_nbd as its find_opaque. It connects to the server and looks at it before it
 * answers, and waits open_timeout_s for that at most. Errors: -EPERM the options do not allow it
 * (the sentence says what would); -EINVAL / -ENOTSUP the name has a form that is not taken;
 * -EHOSTUNREACH / -ECONNREFUSED / -ENOENT / -ETIMEDOUT or another code of connect(2): there is no
 * connection, or the server has no such export; -EACCES TLS failed; -EIO / -EPROTO or another code:
 * the server refuses, or makes no sense. */
BPULL_NBD_API int bpull_nbd_find_base(void *nbd, const struct bpull_open_request *request,
				      struct bpull_base *base, struct bpull_error *error);

/* More may come. */
enum bpull_nbd_state {
	BPULL_NBD_OPENING = 0,
	BPULL_NBD_CONNECTED = 1,
	BPULL_NBD_RECONNECTING = 2, /* lost for less than remote_timeout_s */
	BPULL_NBD_AWAY = 3,         /* for longer: still tried for */
	BPULL_NBD_GONE = 4,         /* for good: another disk came back */
	BPULL_NBD_CLOSED = 5,
};

/* A source, since the first one of its URI was opened. */
struct bpull_nbd_source {
	size_t size;   /* sizeof(struct bpull_nbd_source) */
	char uri[512]; /* printable; cut where it is longer */
	enum bpull_nbd_state state;
	int error;            /* 0 or -errno: why it is not connected */
	char message[256];    /* the same as a sentence, or ""; printable */
	uint64_t state_ms;    /* for how long it is in this state */
	uint64_t length;      /* bytes */
	uint32_t connections; /* now */
	uint64_t bytes_read;  /* data that came from the server */
	uint64_t requests;    /* that were answered */
	uint64_t reconnects;  /* connections that were made again after one was lost */
};

/* How many sources there are or were. */
BPULL_NBD_API unsigned bpull_nbd_count(const struct bpull_nbd *nbd);
/* Tells the state of one source, and what came from it. Errors: -ENOENT there is no such source;
 * -EINVAL the struct's size. */
BPULL_NBD_API int bpull_nbd_get_source(const struct bpull_nbd *nbd, unsigned index,
				       struct bpull_nbd_source *source);
/* Finds the pairs of `map` that no image has named yet, one a call: returns the NAME of the first
 * one from *at on, which is 0 at first, and sets *at behind it. NULL: there are no more. Valid
 * while nbd is. */
BPULL_NBD_API const char *bpull_nbd_unused_map(const struct bpull_nbd *nbd, size_t *at);

#ifdef __cplusplus
}
#endif

#endif
