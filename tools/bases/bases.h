/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bases behind a network, as the users of our programs ask for them: the options that say which are
 * allowed, from texts to the library's find_base. It prints nothing.
 *
 *     struct bases bases = { 0 };
 *     ... bases_take(&bases, "allow-remote", text, &error) for each option that is given ...
 *     bases_open(&bases, &error);
 *     bases_apply(&bases, &disk_options);      (instead of open_file, never beside it)
 *     ... the disks are opened, used and closed ...
 *     bases_free(&bases);
 *
 * A program that closes a sandbox calls bases_start_broker() behind bases_open(), before it has
 * threads, and bases_seal() when all is open. One that waits in a loop polls bases_fd() and takes
 * what bases_next_change() has. All on one thread. Built without libnbd every option is an error,
 * and the other calls do nothing.
 */
#ifndef TOOLS_BASES_BASES_H
#define TOOLS_BASES_BASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/bases/expect.h"
#include "tools/nbd/blockpull-nbd.h"

/* What was said so far; begin with zeros, and free it. The texts are the program's. */
struct bases {
	const char **allow, **map; /* owned lists */
	size_t n_allow, n_map;
	bool opens_none; /* no backing file is opened, so no mapped name is asked for */
	uint32_t open_timeout_s, remote_timeout_s, guest_timeout_s; /* 0: not said */
	struct expectations expects;
	const char *tls_certificates, *tls_psk_file, *tls_user; /* or NULL */
	struct bpull_nbd *nbd;                                  /* since bases_open() */
	int changed_fds[2];                                     /* a pipe, since then */
	enum bpull_nbd_state *seen; /* of each source, as it was told of; owned */
	unsigned n_seen;
};

/* Takes one option: "allow-remote", "map-backing", "open-timeout", "remote-timeout",
 * "guest-timeout", "tls-certificates", "tls-psk-file", "tls-user" or "expect".
 * 0; else -errno with a sentence
 * that does not name the option: -EINVAL what is wrong with the text, -ENOTSUP built without
 * libnbd, -ENOENT there is no such option, -ENOMEM. */
int bases_take(struct bases *bases, const char *option, const char *text,
	       struct bpull_error *error);
/* An option that was given and has no effect without allow-remote or map-backing; NULL: none. */
const char *bases_pointless(const struct bases *bases);
/* Any base behind a network is allowed, or a name mapped. */
bool bases_are_wanted(const struct bases *bases);

/* Reads what the options name; connects to nothing. Where none was given it is opened, too, so that
 * what is refused is told with the option that allows it. 0, or -errno with a sentence. */
int bases_open(struct bases *bases, struct bpull_error *error);
/* bpull_nbd_start_broker(); nothing where no base is wanted. */
int bases_start_broker(struct bases *bases, struct bpull_error *error);
/* bpull_nbd_seal(). */
void bases_seal(struct bases *bases);
/* bpull_nbd_give_up(), when jobs are told to end. */
void bases_give_up(struct bases *bases);
/* Has the image's chain found by it. */
void bases_apply(struct bases *bases, struct bpull_disk_options *options);
void bases_apply_to_new(struct bases *bases, struct bpull_create_options *options);

/* Readable when a source's state has changed; -1: there are none. */
int bases_fd(const struct bases *bases);
/* Fills *source with the next one whose state is another than it was told of, which was *before.
 * False: no more. */
bool bases_next_change(struct bases *bases, struct bpull_nbd_source *source,
		       enum bpull_nbd_state *before);
/* Sums over all sources; false: there is none. *state is the worst of them. */
bool bases_sum(const struct bases *bases, uint64_t *bytes_read, enum bpull_nbd_state *state);
/* Fills *source with one whose server is lost; false: there is none. */
bool bases_lost(const struct bases *bases, struct bpull_nbd_source *source);
/* A word for a state: "connected", "away", ... Static. */
const char *bases_state_word(enum bpull_nbd_state state);
/* As bpull_nbd_unused_map(). */
const char *bases_unused_map(const struct bases *bases, size_t *at);
/* When all was opened: 0, or -ENOENT with a sentence: what is expected is of no base. */
int bases_judge(const struct bases *bases, struct bpull_error *error);
/* After the disks are closed. */
void bases_free(struct bases *bases);

#endif
