/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A pattern of a host's name allows the name: what it resolves to is the operator's business, who
 * runs the resolver. A pattern of a network allows addresses: a name is none, so it is looked up
 * first, and then each of its addresses is asked for. An address in a pattern is a network of one.
 *
 * nbds: allows less than nbd:, because TLS only adds to what a place is.
 */
#include "tools/nbd/names/policy.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/nbd/names/host.h"
#include "tools/nbd/names/pattern.h"
#include "tools/nbd/names/refusal.h"

int nbd_policy_add(struct nbd_policy *policy, const char *pattern, struct bpull_error *error)
{
	struct nbd_pattern *list = reallocarray(policy->patterns, policy->n + 1, sizeof(*list));
	int rc;

	if (!list)
		return nbd_refuse_memory(error);
	policy->patterns = list;
	rc = nbd_pattern_read(pattern, &list[policy->n], error);
	if (!rc)
		policy->n++;
	return rc;
}

size_t nbd_policy_resolve(struct nbd_policy *policy, size_t first)
{
	size_t missing = policy->n;

	for (size_t i = policy->n; i-- > first;) {
		char *real;

		if (policy->patterns[i].kind != NBD_PATTERN_SOCKETS)
			continue;
		real = realpath(policy->patterns[i].path, NULL);
		if (!real) {
			missing = i;
			continue;
		}
		free(policy->patterns[i].path);
		policy->patterns[i].path = real;
	}
	return missing;
}

const char *nbd_policy_text(const struct nbd_policy *policy, size_t index)
{
	return policy->patterns[index].text;
}

void nbd_policy_free(struct nbd_policy *policy)
{
	for (size_t i = 0; i < policy->n; i++)
		nbd_pattern_free(&policy->patterns[i]);
	free(policy->patterns);
	*policy = (struct nbd_policy){ 0 };
}

/* Whether a pattern is about places of this kind. */
static bool concerns(const struct nbd_pattern *pattern, const struct nbd_place *place)
{
	if (pattern->tls_only && !place->tls)
		return false;
	if ((pattern->kind == NBD_PATTERN_SOCKETS) != place->is_unix)
		return false;
	return !pattern->port || pattern->port == place->port;
}

static bool names_host(const struct nbd_pattern *pattern, const struct nbd_place *place)
{
	return pattern->kind == NBD_PATTERN_HOST && !strcmp(pattern->host, place->host);
}

static enum nbd_verdict ask_one(const struct nbd_pattern *pattern, const struct nbd_place *place)
{
	struct nbd_address address;

	if (!concerns(pattern, place))
		return NBD_REFUSED;
	if (place->is_unix)
		return NBD_ASK_SOCKET;
	if (pattern->kind == NBD_PATTERN_HOST)
		return names_host(pattern, place) ? NBD_ALLOWED : NBD_REFUSED;
	if (!nbd_address_read(place->host, &address))
		return NBD_ASK_ADDRESS;
	return nbd_address_is_in(&address, &pattern->network, pattern->n_bits) ? NBD_ALLOWED
									       : NBD_REFUSED;
}

enum nbd_verdict nbd_policy_ask(const struct nbd_policy *policy, const struct nbd_place *place)
{
	enum nbd_verdict verdict = NBD_REFUSED;

	for (size_t i = 0; i < policy->n; i++) {
		enum nbd_verdict one = ask_one(&policy->patterns[i], place);

		if (one == NBD_ALLOWED)
			return one;
		verdict = one ? one : verdict;
	}
	return verdict;
}

/* Absolute, and every part of it a real name. */
static bool is_resolved(const char *path)
{
	if (*path != '/' || !path[1])
		return false;
	while (*path) {
		size_t len = strcspn(path + 1, "/");
		bool is_dots = len <= 2 && strspn(path + 1, ".") >= len;

		if (is_dots)
			return false;
		path += 1 + len;
	}
	return true;
}

static bool is_at_or_below(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	while (len && dir[len - 1] == '/')
		len--;
	return *dir == '/' && !strncmp(dir, path, len) && (!path[len] || path[len] == '/');
}

bool nbd_policy_allows_socket(const struct nbd_policy *policy, const struct nbd_place *place,
			      const char *real_path)
{
	if (!place->is_unix || !is_resolved(real_path))
		return false;
	for (size_t i = 0; i < policy->n; i++)
		if (concerns(&policy->patterns[i], place) &&
		    is_at_or_below(policy->patterns[i].path, real_path))
			return true;
	return false;
}

bool nbd_policy_allows_address(const struct nbd_policy *policy, const struct nbd_place *place,
			       const struct sockaddr *address, socklen_t len)
{
	struct nbd_address asked;

	if (!nbd_address_of(address, len, &asked))
		return false;
	for (size_t i = 0; i < policy->n; i++) {
		const struct nbd_pattern *pattern = &policy->patterns[i];

		if (!concerns(pattern, place))
			continue;
		if (pattern->kind == NBD_PATTERN_NETWORK
			    ? nbd_address_is_in(&asked, &pattern->network, pattern->n_bits)
			    : names_host(pattern, place))
			return true;
	}
	return false;
}
