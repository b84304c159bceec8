/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One text for one place: all bytes but those that a URI has for itself are written %XX, the port
 * is always there, and so is a slash. A slash that begins an export's name is written %2F: programs
 * that make paths tidy would drop it.
 */
#include "tools/nbd/names/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void nbd_place_free(struct nbd_place *place)
{
	free(place->host);
	free(place->socket_path);
	free(place->export_name);
	*place = (struct nbd_place){ 0 };
}

static bool copy_text(const char *from, char **to)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

int nbd_place_copy(struct nbd_place *to, const struct nbd_place *from)
{
	*to = (struct nbd_place){ .tls = from->tls, .is_unix = from->is_unix, .port = from->port };
	if (copy_text(from->host, &to->host) && copy_text(from->socket_path, &to->socket_path) &&
	    copy_text(from->export_name, &to->export_name))
		return 0;
	nbd_place_free(to);
	return -ENOMEM;
}

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool nbd_place_equal(const struct nbd_place *a, const struct nbd_place *b)
{
	return a->tls == b->tls && a->is_unix == b->is_unix && a->port == b->port &&
	       is_same_text(a->host, b->host) && is_same_text(a->socket_path, b->socket_path) &&
	       is_same_text(a->export_name, b->export_name);
}

static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~", c));
}

static void put_percent(FILE *out, const char *text, bool first_slash)
{
	for (const char *c = text; *c; c++)
		if (is_unreserved(*c) || (*c == '/' && (c != text || first_slash)))
			putc(*c, out);
		else
			fprintf(out, "%%%02X", (unsigned char)*c);
}

char *nbd_place_uri(const struct nbd_place *place)
{
	const char *tls = place->tls ? "s" : "";
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	bool failed;

	if (!out)
		return NULL;
	if (place->is_unix)
		fprintf(out, "nbd%s+unix:///", tls);
	else
		fprintf(out, strchr(place->host, ':') ? "nbd%s://[%s]:%u/" : "nbd%s://%s:%u/", tls,
			place->host, place->port);
	put_percent(out, place->export_name, false);
	if (place->is_unix) {
		fputs("?socket=", out);
		put_percent(out, place->socket_path, true);
	}
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	return text;
}
