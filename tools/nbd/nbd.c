/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The calls of blockpull-nbd.h. */
#include "tools/nbd/blockpull-nbd.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tools/nbd/broker.h"
#include "tools/nbd/names/mapping.h"
#include "tools/nbd/options.h"
#include "tools/nbd/record.h"
#include "tools/nbd/remote.h"
#include "tools/words/text.h"

#define NS_PER_S 1000000000ull

struct bpull_nbd {
	pthread_mutex_t lock;
	unsigned n_users; /* under lock: what opened it, and each source */
	bool is_sealed;   /* under lock */
	pid_t owner;      /* the process that opened it */
	struct nbd_policy policy;
	struct nbd_mappings mappings;
	char *here; /* or NULL */
	struct remote_settings settings;
	struct tls_keys
		*keys; /* under lock: of the options, or the system's, once needed; or NULL */
	struct broker *broker; /* or NULL */
	struct records records;
	struct remotes remotes;
};

/* *error, emptied, or where there is none *none. */
static struct bpull_error *nbd_error_begin(struct bpull_error *error, struct bpull_error *none)
{
	if (!error)
		error = none;
	error->code = 0;
	error->remedy = BPULL_REMEDY_NONE;
	error->message[0] = error->remedy_name[0] = '\0';
	return error;
}

static void nbd_leave(void *opaque)
{
	struct bpull_nbd *nbd = opaque;
	bool is_last;

	pthread_mutex_lock(&nbd->lock);
	is_last = --nbd->n_users == 0;
	pthread_mutex_unlock(&nbd->lock);
	if (!is_last)
		return;
	broker_free(nbd->broker);
	if (nbd->settings.give_up_fd >= 0)
		close(nbd->settings.give_up_fd);
	tls_keys_free(nbd->keys);
	nbd_policy_free(&nbd->policy);
	nbd_mappings_free(&nbd->mappings);
	records_free(&nbd->records);
	pthread_mutex_destroy(&nbd->remotes.lock);
	pthread_mutex_destroy(&nbd->lock);
	free(nbd->here);
	free(nbd);
}

/* ---- Options --------------------------------------------------------------- */

static uint64_t nbd_seconds(uint32_t value, uint32_t by_default)
{
	return (value ? value : by_default) * NS_PER_S;
}

static int nbd_fill(struct bpull_nbd *nbd, const struct bpull_nbd_options *options,
		    struct bpull_error *error)
{
	struct tls_files files = { options->tls_certificates, options->tls_psk_file,
				   options->tls_user };
	int rc = 0;

	nbd->settings = (struct remote_settings){
		.open_ns = nbd_seconds(options->open_timeout_s, 30),
		.remote_ns = nbd_seconds(options->remote_timeout_s, 300),
		.guest_ns = nbd_seconds(options->guest_timeout_s, 30),
		.request_ns = nbd_seconds(options->request_timeout_s, 30),
		.n_wires = options->connections ? options->connections : REMOTE_MAX_WIRES,
		.give_up_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	if (nbd->settings.give_up_fd < 0)
		return text_error(error, -errno, "an eventfd can't be made: %s", strerror(errno));
	nbd->records.changed = options->changed;
	nbd->records.opaque = options->opaque;
	if (options->relative_dir && !(nbd->here = strdup(options->relative_dir)))
		return text_error(error, -ENOMEM, "there is no memory");
	for (size_t i = 0; rc == 0 && i < options->n_allow; i++)
		rc = nbd_policy_add(&nbd->policy, options->allow[i], error);
	for (size_t i = 0; rc == 0 && i < options->n_map; i++)
		rc = nbd_mappings_add(&nbd->mappings, options->map[i], nbd->here, error);
	if (rc == 0)
		nbd_policy_resolve(&nbd->policy, 0);
	if (rc == 0 && (files.certificates || files.psk_file))
		rc = tls_keys_open(&files, &nbd->keys, error);
	return rc;
}

int bpull_nbd_open(const struct bpull_nbd_options *options, struct bpull_nbd **nbd,
		   struct bpull_error *error)
{
	static const struct bpull_nbd_options defaults = { .size = sizeof(defaults) };
	struct bpull_error none;
	struct bpull_nbd *new;
	int rc;

	error = nbd_error_begin(error, &none);
	if (!nbd)
		return text_error(error, -EINVAL, "nbd is NULL, where a pointer is needed");
	if (!options)
		options = &defaults;
	rc = nbd_options_check(options, error);
	if (rc)
		return rc;
	new = calloc(1, sizeof(*new));
	if (!new)
		return text_error(error, -ENOMEM, "there is no memory");
	pthread_mutex_init(&new->lock, NULL);
	records_init(&new->records);
	pthread_mutex_init(&new->remotes.lock, NULL);
	new->n_users = 1;
	new->owner = getpid();
	rc = nbd_fill(new, options, error);
	if (rc)
		nbd_leave(new);
	else
		*nbd = new;
	return rc;
}

/* In a child of fork(), where its lock may be held for ever. */
static void nbd_abandon(struct bpull_nbd *nbd)
{
	if (nbd->broker)
		broker_seal(nbd->broker);
	if (nbd->settings.give_up_fd >= 0)
		close(nbd->settings.give_up_fd);
	nbd->settings.give_up_fd = -1;
}

void bpull_nbd_close(struct bpull_nbd *nbd)
{
	if (!nbd)
		return;
	if (nbd->owner != getpid()) {
		nbd_abandon(nbd);
		return;
	}
	bpull_nbd_seal(nbd);
	nbd_leave(nbd);
}

int bpull_nbd_start_broker(struct bpull_nbd *nbd, struct bpull_error *error)
{
	struct bpull_error none;
	int rc;

	error = nbd_error_begin(error, &none);
	if (!nbd)
		return text_error(error, -EINVAL, "nbd is NULL, where a pointer is needed");
	pthread_mutex_lock(&nbd->lock);
	if (nbd->broker || nbd->n_users > 1)
		rc = text_error(error, -EBUSY,
				"the process that connects to servers is there, or "
				"sources are open already");
	else
		rc = broker_start(&nbd->policy, &nbd->broker, error);
	pthread_mutex_unlock(&nbd->lock);
	return rc;
}

void bpull_nbd_seal(struct bpull_nbd *nbd)
{
	if (!nbd)
		return;
	pthread_mutex_lock(&nbd->lock);
	nbd->is_sealed = true;
	if (nbd->broker)
		broker_seal(nbd->broker);
	pthread_mutex_unlock(&nbd->lock);
}

void bpull_nbd_give_up(struct bpull_nbd *nbd)
{
	uint64_t one = 1;

	if (nbd && write(nbd->settings.give_up_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort(); /* it takes a 1, or is as readable as can be */
}

/* ---- Sources --------------------------------------------------------------- */

/* The keys for a place with TLS: the system's authorities where the options name nothing. */
static int nbd_need_keys(struct bpull_nbd *nbd, struct bpull_error *error)
{
	static const struct tls_files none = { 0 };
	int rc = 0;

	if (!nbd->keys)
		rc = tls_keys_open(&none, &nbd->keys, error);
	nbd->settings.keys = nbd->keys;
	return rc;
}

/* Counts the source as a user of nbd, and finds the way to its place. */
static int nbd_begin_source(struct bpull_nbd *nbd, const struct nbd_choice *choice,
			    struct dial_way *way, struct bpull_error *error)
{
	const struct nbd_place *place = &choice->name.place;
	int rc = 0;

	pthread_mutex_lock(&nbd->lock);
	if (nbd->is_sealed)
		rc = text_error(error, -EPERM, "no base behind a network can be opened any more");
	if (rc == 0 && place->tls)
		rc = nbd_need_keys(nbd, error);
	if (rc == 0) {
		rc = nbd->broker
			     ? broker_add(nbd->broker, place, choice->is_operators, way)
			     : dial_direct(place, choice->is_operators ? NULL : &nbd->policy, way);
		if (rc)
			text_error(error, rc, "a connection to the server can't be prepared: %s",
				   strerror(-rc));
	}
	if (rc == 0)
		nbd->n_users++;
	pthread_mutex_unlock(&nbd->lock);
	return rc;
}

static bool nbd_is_sealed(struct bpull_nbd *nbd)
{
	bool is_sealed;

	pthread_mutex_lock(&nbd->lock);
	is_sealed = nbd->is_sealed;
	pthread_mutex_unlock(&nbd->lock);
	return is_sealed;
}

static int nbd_open_source(struct bpull_nbd *nbd, const struct nbd_choice *choice,
			   struct bpull_source *source, struct bpull_error *error)
{
	char *uri = nbd_place_uri(&choice->name.place);
	struct remote_options options = { .remotes = &nbd->remotes,
					  .is_operators = choice->is_operators,
					  .settings = &nbd->settings,
					  .place = &choice->name.place,
					  .identity = uri,
					  .closed = nbd_leave,
					  .opaque = nbd };
	int rc;

	if (!uri)
		return text_error(error, -ENOMEM, "there is no memory");
	if (!nbd_is_sealed(nbd) &&
	    remotes_share(&nbd->remotes, uri, choice->is_operators, source)) {
		free(uri);
		return 0;
	}
	rc = nbd_begin_source(nbd, choice, &options.way, error);
	if (rc == 0) {
		options.record = records_add(&nbd->records, uri);
		if (options.record) {
			rc = remote_open(&options, source, error);
		} else {
			rc = text_error(error, -ENOMEM, "there is no memory");
			options.way.free(options.way.way);
			nbd_leave(nbd);
		}
	}
	free(uri);
	return rc;
}

static int nbd_answer(struct bpull_nbd *nbd, struct nbd_choice *choice, struct bpull_base *base,
		      struct bpull_error *error)
{
	switch (choice->name.kind) {
	case NBD_NAME_PLACE:
		base->format = choice->name.format;
		return nbd_open_source(nbd, choice, &base->source, error);
	case NBD_NAME_FILE:
		base->format = choice->name.format;
		base->path = choice->name.path;
		base->path_is_allowed = choice->is_operators;
		choice->name.path = NULL;
		return 0;
	case NBD_NAME_OTHER:
	default: return 1;
	}
}

/* What the user typed: no image's name has to be trusted. */
static int nbd_refuse_typed(const struct bpull_nbd *nbd, const char *typed,
			    struct bpull_error *error)
{
	struct nbd_name name;
	int rc = nbd_name_read(typed, nbd->here, &name, error);

	if (rc)
		return rc;
	rc = nbd_policy_refuse_typed(&name.place, error);
	nbd_name_free(&name);
	return rc;
}

int bpull_nbd_find_base(void *opaque, const struct bpull_open_request *request,
			struct bpull_base *base, struct bpull_error *error)
{
	struct bpull_nbd *nbd = opaque;
	struct nbd_choice choice = { 0 };
	struct bpull_error none;
	int rc;

	error = nbd_error_begin(error, &none);
	if (!nbd || !request || !base)
		return text_error(error, -EINVAL, "a parameter is NULL, where a pointer is needed");
	rc = nbd_choose(&nbd->policy, &nbd->mappings,
			request->recorded ? request->recorded : request->name, nbd->here, &choice,
			error);
	/* What an image records, and no form has: refused, as other names are that are not
	 * followed; what the user typed is an argument that makes no sense. */
	if (rc == -EINVAL && request->recorded) {
		rc = -ENOTSUP;
		if (error->code)
			error->code = rc;
	}
	if (rc == -EPERM && !request->recorded)
		return nbd_refuse_typed(nbd, request->name, error);
	if (rc)
		return rc;
	rc = nbd_answer(nbd, &choice, base, error);
	nbd_name_free(&choice.name);
	return rc;
}

/* ---- What is told ---------------------------------------------------------- */

unsigned bpull_nbd_count(const struct bpull_nbd *nbd)
{
	struct records *records = nbd ? (struct records *)&nbd->records : NULL;
	unsigned n;

	if (!nbd)
		return 0;
	pthread_mutex_lock(&records->lock);
	n = records->n;
	pthread_mutex_unlock(&records->lock);
	return n;
}

int bpull_nbd_get_source(const struct bpull_nbd *nbd, unsigned index,
			 struct bpull_nbd_source *source)
{
	return nbd && source ? records_get((struct records *)&nbd->records, index, source)
			     : -EINVAL;
}

const char *bpull_nbd_unused_map(const struct bpull_nbd *nbd, size_t *at)
{
	return nbd && at ? nbd_mappings_unused(&nbd->mappings, at) : NULL;
}
