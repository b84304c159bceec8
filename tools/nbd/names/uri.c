/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * URIs of NBD, as the NBD project specifies them: one slash parts the server from the export, and
 * is no part of its name. libnbd takes a missing host for this one, and QEMU refuses it, as here.
 */
#include "tools/nbd/names/forms.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/nbd/names/refusal.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What may stand in a path as it is. In a query '&' and ';' part keys, which are checked before. */
static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~!$&'()*+,;=:@/", c));
}

/* Decodes len bytes into *out, to be freed. */
static int decode(const struct nbd_reading *reading, const char *text, size_t len, char **out)
{
	size_t n = 0;

	*out = malloc(len + 1);
	if (!*out)
		return nbd_refuse_memory(reading->error);
	for (size_t i = 0; i < len; i++) {
		int high = text[i] == '%' && i + 2 < len ? hex_value(text[i + 1]) : -1;
		int low = high >= 0 ? hex_value(text[i + 2]) : -1;

		if (text[i] == '%' && low < 0)
			return nbd_bad_name(reading, "a '%%' is not followed by two hexadecimal "
						     "digits");
		if (text[i] == '%' && !high && !low)
			return nbd_bad_name(reading, "%%00 stands for a character that no name "
						     "has");
		if (text[i] != '%' && !is_plain(text[i]))
			return nbd_bad_name(reading, "a '%c' in it must be written %%%02X", text[i],
					    (unsigned char)text[i]);
		(*out)[n++] = text[i] == '%' ? (char)(high << 4 | low) : text[i];
		i += text[i] == '%' ? 2 : 0;
	}
	(*out)[n] = 0;
	return 0;
}

struct uri_parts {
	const char *authority, *path, *query; /* query: behind its '?', or NULL */
	size_t authority_len, path_len, query_len;
};

static int part(const struct nbd_reading *reading, const char *text, struct uri_parts *parts)
{
	*parts = (struct uri_parts){ .authority = text };
	if (strchr(text, '#'))
		return nbd_bad_name(reading, "a '#' in it must be written %%23");
	parts->authority_len = strcspn(text, "/?");
	parts->path = text + parts->authority_len;
	parts->path_len = strcspn(parts->path, "?");
	if (!parts->path[parts->path_len])
		return 0;
	parts->query = parts->path + parts->path_len + 1;
	parts->query_len = strlen(parts->query);
	return 0;
}

static int read_export(const struct nbd_reading *reading, const struct uri_parts *parts,
		       struct nbd_place *place)
{
	size_t slash = parts->path_len > 0;
	char *name;
	int rc;

	rc = decode(reading, parts->path + slash, parts->path_len - slash, &name);
	if (!rc)
		rc = nbd_set_export(reading, place, name);
	free(name);
	return rc;
}

/* A certificate, a key, a command: of all that a query may hold only the socket is taken. */
static int read_socket(const struct nbd_reading *reading, const struct uri_parts *parts,
		       struct nbd_place *place)
{
	static const char key[] = "socket=";
	size_t key_len = strlen(key);
	char *path;
	int rc;

	if (!parts->query || strncmp(parts->query, key, key_len) != 0)
		return nbd_bad_name(reading, "behind '?' there must be socket=PATH");
	rc = decode(reading, parts->query + key_len, parts->query_len - key_len, &path);
	if (!rc)
		rc = nbd_set_socket(reading, place, path);
	free(path);
	return rc;
}

/* The keys of a query: each that is not the socket is named. */
static int check_keys(const struct nbd_reading *reading, const struct uri_parts *parts,
		      bool may_have_socket)
{
	unsigned n_sockets = 0;

	for (const char *at = parts->query; at;) {
		size_t len = strcspn(at, "&;"), key_len = strcspn(at, "=&;");
		char key[64], shown[REFUSAL_NAME_CAP];

		snprintf(key, sizeof(key), "%.*s", (int)(key_len < 60 ? key_len : 60), at);
		if (!strcmp(key, "socket") && !may_have_socket)
			return nbd_bad_name(reading, "only names that begin with nbd+unix:// or "
						     "nbds+unix:// have a socket");
		if (strcmp(key, "socket") != 0)
			return nbd_bad_name(reading,
					    "'%s' is not taken from a name: it may not say which "
					    "keys, certificates, users or commands are used",
					    nbd_show(key, shown));
		if (n_sockets++)
			return nbd_bad_name(reading, "it has two sockets");
		at = at[len] ? at + len + 1 : NULL;
	}
	return 0;
}

static int read_parts(const struct nbd_reading *reading, const struct uri_parts *parts,
		      bool is_unix, struct nbd_place *place)
{
	int rc = check_keys(reading, parts, is_unix);

	if (!rc && memchr(parts->authority, '@', parts->authority_len))
		rc = nbd_bad_name(reading, "a name may not say which user connects");
	if (!rc && is_unix && parts->authority_len)
		rc = nbd_bad_name(reading, "a unix socket has no host: there must be three "
					   "slashes");
	if (!rc && is_unix)
		rc = read_socket(reading, parts, place);
	else if (!rc)
		rc = nbd_set_host_port(reading, place, parts->authority, parts->authority_len,
				       NBD_DEFAULT_PORT);
	return rc ? rc : read_export(reading, parts, place);
}

int nbd_uri_read(const struct nbd_reading *reading, struct nbd_place *place)
{
	static const struct {
		const char *scheme;
		bool tls, is_unix;
	} schemes[] = {
		{ "nbd://", false, false },     { "nbd+tcp://", false, false },
		{ "nbd+unix://", false, true }, { "nbds://", true, false },
		{ "nbds+unix://", true, true },
	};
	struct uri_parts parts;
	int rc;

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i].scheme);

		if (strncmp(reading->name, schemes[i].scheme, len) != 0)
			continue;
		place->tls = schemes[i].tls;
		rc = part(reading, reading->name + len, &parts);
		return rc ? rc : read_parts(reading, &parts, schemes[i].is_unix, place);
	}
	return nbd_bad_name(reading, "there must be '://' behind its first word");
}
