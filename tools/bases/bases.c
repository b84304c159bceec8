/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Between the options and libblockpull-nbd: opens it with what the options said, adds what is
 * expected of a base (expect.c) to what it finds, and remembers of each server the state that was
 * told last. Built without libnbd, the first half of this file stands in for the second.
 */
#include "tools/bases/bases.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/bases/options.h"
#include "tools/words/text.h"

#ifndef HAVE_LIBNBD

int bases_take(struct bases *bases, const char *option, const char *text, struct bpull_error *error)
{
	int rc = bases_take_known(bases, option, text, error);

	return rc ? rc
		  : text_error(error, -ENOTSUP,
			       "bases behind a network are not built in (they need libnbd)");
}

int bases_open(struct bases *bases, struct bpull_error *error)
{
	(void)bases;
	(void)error;
	return 0;
}

int bases_start_broker(struct bases *bases, struct bpull_error *error)
{
	(void)bases;
	(void)error;
	return 0;
}

void bases_seal(struct bases *bases)
{
	(void)bases;
}

void bases_give_up(struct bases *bases)
{
	(void)bases;
}

void bases_apply(struct bases *bases, struct bpull_disk_options *options)
{
	(void)bases;
	(void)options;
}

void bases_apply_to_new(struct bases *bases, struct bpull_create_options *options)
{
	(void)bases;
	(void)options;
}

int bases_fd(const struct bases *bases)
{
	(void)bases;
	return -1;
}

bool bases_next_change(struct bases *bases, struct bpull_nbd_source *source,
		       enum bpull_nbd_state *before)
{
	(void)bases;
	(void)source;
	(void)before;
	return false;
}

bool bases_sum(const struct bases *bases, uint64_t *bytes_read, enum bpull_nbd_state *state)
{
	(void)bases;
	(void)bytes_read;
	(void)state;
	return false;
}

bool bases_lost(const struct bases *bases, struct bpull_nbd_source *source)
{
	(void)bases;
	(void)source;
	return false;
}

const char *bases_unused_map(const struct bases *bases, size_t *at)
{
	(void)bases;
	(void)at;
	return NULL;
}

void bases_free(struct bases *bases)
{
	free(bases->allow);
	free(bases->map);
	expect_free(&bases->expects);
}

#else

int bases_take(struct bases *bases, const char *option, const char *text, struct bpull_error *error)
{
	return bases_take_known(bases, option, text, error);
}

/* ---- The library ----------------------------------------------------------- */

/* On a source's thread. A full pipe is as readable as it has to be. */
static void bases_changed(void *opaque, unsigned index)
{
	const struct bases *bases = opaque;
	ssize_t written = write(bases->changed_fds[1], "", 1);

	(void)written;
	(void)index;
}

/* Where they make no sense together. Which option it is, is said here. */
static int bases_check(const struct bases *bases, struct bpull_error *error)
{
	if (bases->tls_psk_file && bases->tls_certificates)
		return text_error(error, -EINVAL,
				  "tls-psk-file and tls-certificates can't be combined");
	if (!bases->tls_psk_file != !bases->tls_user)
		return text_error(error, -EINVAL, "%s needs %s",
				  bases->tls_user ? "tls-user" : "tls-psk-file",
				  bases->tls_user ? "tls-psk-file" : "tls-user");
	return 0;
}

int bases_open(struct bases *bases, struct bpull_error *error)
{
	char here[PATH_MAX];
	struct bpull_nbd_options options = {
		.size = sizeof(options),
		.allow = bases->allow,
		.n_allow = bases->n_allow,
		.map = bases->map,
		.n_map = bases->n_map,
		.relative_dir = getcwd(here, sizeof(here)) && *here == '/' ? here : NULL,
		.open_timeout_s = bases->open_timeout_s,
		.remote_timeout_s = bases->remote_timeout_s,
		.guest_timeout_s = bases->guest_timeout_s,
		.tls_certificates = bases->tls_certificates,
		.tls_psk_file = bases->tls_psk_file,
		.tls_user = bases->tls_user,
	};
	int rc = bases_check(bases, error);

	if (!rc && bases_are_wanted(bases)) {
		if (pipe2(bases->changed_fds, O_CLOEXEC | O_NONBLOCK))
			return text_error(error, -errno, "a pipe can't be made: %s",
					  strerror(errno));
		options.changed = bases_changed;
		options.opaque = bases;
	}
	return rc ? rc : bpull_nbd_open(&options, &bases->nbd, error);
}

int bases_start_broker(struct bases *bases, struct bpull_error *error)
{
	return bases_are_wanted(bases) ? bpull_nbd_start_broker(bases->nbd, error) : 0;
}

void bases_seal(struct bases *bases)
{
	bpull_nbd_seal(bases->nbd);
}

void bases_give_up(struct bases *bases)
{
	bpull_nbd_give_up(bases->nbd);
}

static int bases_find(void *opaque, const struct bpull_open_request *request,
		      struct bpull_base *base, struct bpull_error *error)
{
	struct bases *bases = opaque;
	struct bpull_error none;
	int rc;

	error = error ? error : &none;
	rc = bpull_nbd_find_base(bases->nbd, request, base, error);
	return rc < 0 ? rc : expect_apply(&bases->expects, request, base, rc, error);
}

void bases_apply(struct bases *bases, struct bpull_disk_options *options)
{
	options->find_base = bases_find;
	options->find_opaque = bases;
}

void bases_apply_to_new(struct bases *bases, struct bpull_create_options *options)
{
	options->find_base = bpull_nbd_find_base;
	options->find_opaque = bases->nbd;
}

const char *bases_unused_map(const struct bases *bases, size_t *at)
{
	return bpull_nbd_unused_map(bases->nbd, at);
}

void bases_free(struct bases *bases)
{
	bpull_nbd_close(bases->nbd);
	for (int i = 0; i < 2; i++)
		if (bases->changed_fds[i])
			close(bases->changed_fds[i]);
	free(bases->allow);
	free(bases->map);
	free(bases->seen);
	expect_free(&bases->expects);
}

/* ---- What is told ---------------------------------------------------------- */

int bases_fd(const struct bases *bases)
{
	return bases->changed_fds[0] ? bases->changed_fds[0] : -1;
}

/* Room for what was told of each source there is. False: no memory. */
static bool bases_remember(struct bases *bases, unsigned n)
{
	enum bpull_nbd_state *more;

	if (n <= bases->n_seen)
		return true;
	more = reallocarray(bases->seen, n, sizeof(*more));
	if (!more)
		return false;
	bases->seen = more;
	while (bases->n_seen < n)
		bases->seen[bases->n_seen++] = BPULL_NBD_OPENING;
	return true;
}

bool bases_next_change(struct bases *bases, struct bpull_nbd_source *source,
		       enum bpull_nbd_state *before)
{
	unsigned n = bpull_nbd_count(bases->nbd);
	char bytes[64];

	if (!n || !bases_remember(bases, n))
		return false;
	while (read(bases->changed_fds[0], bytes, sizeof(bytes)) > 0)
		continue;
	for (unsigned i = 0; i < n; i++) {
		source->size = sizeof(*source);
		if (bpull_nbd_get_source(bases->nbd, i, source) || source->state == bases->seen[i])
			continue;
		*before = bases->seen[i];
		bases->seen[i] = source->state;
		return true;
	}
	return false;
}

bool bases_lost(const struct bases *bases, struct bpull_nbd_source *source)
{
	unsigned n = bpull_nbd_count(bases->nbd);

	for (unsigned i = 0; i < n; i++) {
		source->size = sizeof(*source);
		if (!bpull_nbd_get_source(bases->nbd, i, source) &&
		    (source->state == BPULL_NBD_RECONNECTING || source->state == BPULL_NBD_AWAY ||
		     source->state == BPULL_NBD_GONE))
			return true;
	}
	return false;
}

bool bases_sum(const struct bases *bases, uint64_t *bytes_read, enum bpull_nbd_state *state)
{
	unsigned n = bpull_nbd_count(bases->nbd);

	*bytes_read = 0;
	*state = BPULL_NBD_CONNECTED;
	for (unsigned i = 0; i < n; i++) {
		struct bpull_nbd_source source = { .size = sizeof(source) };

		if (bpull_nbd_get_source(bases->nbd, i, &source))
			continue;
		*bytes_read += source.bytes_read;
		if (source.state > *state && source.state != BPULL_NBD_CLOSED)
			*state = source.state;
	}
	return n > 0;
}

#endif
