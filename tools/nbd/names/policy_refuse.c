/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The pattern in a refusal allows this place and as little else as can be said. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/nbd/names/host.h"
#include "tools/nbd/names/policy.h"
#include "tools/nbd/names/refusal.h"

/* The word of a pattern for a host. */
static const char *host_pattern(const struct nbd_place *place, char word[REFUSAL_NAME_CAP])
{
	bool is_ipv6 = strchr(place->host, ':');
	char text[REFUSAL_NAME_CAP + 128];

	snprintf(text, sizeof(text), "nbd%s:%s%s%s:%u", place->tls ? "s" : "", is_ipv6 ? "[" : "",
		 place->host, is_ipv6 ? "]" : "", place->port);
	return nbd_shell_word(text, word);
}

static const char *socket_pattern(const struct nbd_place *place, const char *path,
				  char word[REFUSAL_NAME_CAP])
{
	char text[REFUSAL_NAME_CAP];

	if (snprintf(text, sizeof(text), "nbd%s+unix:%s", place->tls ? "s" : "", path) >=
	    (int)sizeof(text))
		return NULL;
	return nbd_shell_word(text, word);
}

/* Where there is no room for the narrowest one. */
static const char *any_pattern(const struct nbd_place *place)
{
	if (place->is_unix)
		return place->tls ? "nbds+unix:DIR" : "nbd+unix:DIR";
	return place->tls ? "nbds:HOST" : "nbd:HOST";
}

static const char *narrow_pattern(const struct nbd_place *place, const char *real_path,
				  char word[REFUSAL_NAME_CAP])
{
	const char *pattern =
		place->is_unix
			? socket_pattern(place, real_path ? real_path : place->socket_path, word)
			: host_pattern(place, word);

	return pattern ? pattern : any_pattern(place);
}

int nbd_policy_refuse(const struct nbd_place *place, const char *real_path,
		      const struct sockaddr *address, struct bpull_error *error)
{
	char *uri = nbd_place_uri(place);
	char shown[REFUSAL_NAME_CAP], word[REFUSAL_NAME_CAP], text[NBD_ADDRESS_CAP], also[128] = "";
	struct nbd_address asked;
	const char *pattern;

	if (!uri)
		return nbd_refuse_memory(error);
	nbd_show(uri, shown);
	free(uri);
	pattern = narrow_pattern(place, real_path, word);
	if (place->is_unix && real_path && strcmp(real_path, place->socket_path) != 0)
		snprintf(also, sizeof(also), ", by links to another name,");
	else if (address &&
		 nbd_address_of(address,
				address->sa_family == AF_INET ? sizeof(struct sockaddr_in)
							      : sizeof(struct sockaddr_in6),
				&asked))
		snprintf(also, sizeof(also), ", at the address %s,",
			 nbd_address_text(&asked, text));
	return nbd_refuse(error, -EPERM,
			  "'%s'%s is a server's, and no image may name it: --allow-remote=%s would "
			  "let it pass, if you trust the image",
			  shown, also, pattern);
}

int nbd_policy_refuse_typed(const struct nbd_place *place, struct bpull_error *error)
{
	char *uri = nbd_place_uri(place);
	char shown[REFUSAL_NAME_CAP], word[REFUSAL_NAME_CAP];

	if (!uri)
		return nbd_refuse_memory(error);
	nbd_show(uri, shown);
	free(uri);
	return nbd_refuse(
		error, -EPERM,
		"'%s' is a server's, and is read where that is allowed: --allow-remote=%s", shown,
		narrow_pattern(place, NULL, word));
}
